-- Hold a room, and return its running turns in the same step: all that follows reaches the inbox. The names of those
-- that ended lately too: devices that were in it before may have heard nothing of them.
-- ARGV: prefix, node, room, ttl ms, heartbeat ms
local p, node, room = ARGV[1], ARGV[2], ARGV[3]
local life, t = p .. 'node:' .. node, redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('HSETNX', life, 'born', now)
redis.call('HSETNX', life, 'letters', now)
redis.call('PEXPIRE', life, ARGV[5])
redis.call('SADD', p .. 'nodes:' .. room, node)
redis.call('PEXPIRE', p .. 'nodes:' .. room, ARGV[4])
local found = {}
for _, turn in ipairs(redis.call('SMEMBERS', p .. 'running:' .. room)) do
  local request = redis.call('HGET', p .. 'turn:' .. turn, 'request')
  if request then
    found[#found + 1] = { turn, request, redis.call('XRANGE', p .. 'journal:' .. turn, '-', '+') }
  end
end
return { redis.call('HGET', life, 'born'), found, redis.call('ZRANGE', p .. 'ended:' .. room, 0, -1) }
