-- Hold a room, and return its running turns in the same step: all that follows reaches the inbox.
-- ARGV: prefix, node, room, ttl ms, heartbeat ms
local p, node, room = ARGV[1], ARGV[2], ARGV[3]
redis.call('SET', p .. 'node:' .. node, 1, 'PX', ARGV[5])
redis.call('SADD', p .. 'nodes:' .. room, node)
redis.call('PEXPIRE', p .. 'nodes:' .. room, ARGV[4])
local found = {}
for _, turn in ipairs(redis.call('SMEMBERS', p .. 'running:' .. room)) do
  local request = redis.call('HGET', p .. 'turn:' .. turn, 'request')
  if request then
    found[#found + 1] = { turn, request, redis.call('XRANGE', p .. 'journal:' .. turn, '-', '+') }
  end
end
return found
