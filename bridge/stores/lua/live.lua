-- Say that this node lives, and that it still holds rooms; it hears itself, so that it knows that it hears.
-- ARGV: prefix, node, heartbeat ms, inbox ms, room ttl ms, inbox length, then rooms
-- Returns when this life began, the time in ms, and how many of the rooms are no longer held.
local p, node, t = ARGV[1], ARGV[2], redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000000 + t[2])
local life = p .. 'node:' .. node
redis.call('HSETNX', life, 'born', now)
redis.call('HSETNX', life, 'letters', now)
redis.call('PEXPIRE', life, ARGV[3])
post(p, node, ARGV[6], ARGV[4], 'kind', 'echo')
redis.call('SADD', p .. 'nodes:', node) -- the room without a name is that of all nodes
redis.call('PEXPIRE', p .. 'nodes:', ARGV[3])
local missing = 0
for i = 7, #ARGV do
  local nodes = p .. 'nodes:' .. ARGV[i]
  missing = missing + 1 - redis.call('SISMEMBER', nodes, node)
  redis.call('PEXPIRE', nodes, ARGV[5])
end
return { redis.call('HGET', life, 'born'), math.floor(tonumber(now) / 1000), missing }
