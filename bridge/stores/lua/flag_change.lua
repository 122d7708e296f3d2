-- Keep a change of the flag behind the last one, if that is the one its author knew.
-- ARGV: prefix, id of the last known change or '', change, history length. Returns the id, or nothing.
local key = ARGV[1] .. 'flag'
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if (newest and newest[1] or '') ~= ARGV[2] then
  return false
end
return redis.call('XADD', key, 'MAXLEN', ARGV[4], '*', 'change', ARGV[3])
