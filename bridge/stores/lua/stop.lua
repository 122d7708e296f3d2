-- Mark a running turn to be stopped, and tell its owner.
-- ARGV: prefix, turn, inbox length
local p, key = ARGV[1], ARGV[1] .. 'turn:' .. ARGV[2]
local kept = redis.call('HMGET', key, 'state', 'owner')
if kept[1] ~= 'running' then return 0 end
redis.call('HSET', key, 'stop', 1)
if redis.call('EXISTS', p .. 'node:' .. kept[2]) == 1 then
  redis.call('XADD', p .. 'inbox:' .. kept[2], 'MAXLEN', '~', ARGV[3], '*', 'kind', 'stop', 'turn', ARGV[2])
end
return 1
