-- Say that this node lives, and that it still holds rooms; it hears itself, so that it knows that it hears.
-- ARGV: prefix, node, heartbeat ms, inbox ms, room ttl ms, inbox length, then rooms
-- Returns when this life began, the time in ms, how many of the rooms are no longer held, 1 where a lease has expired,
-- else 0, and how many nodes live.
local ECHO_MS = 500 -- every beat would wake its node up once more; a second's silence makes its reader ask why

local p, node, t = ARGV[1], ARGV[2], redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000000 + t[2])
local life = p .. 'node:' .. node
redis.call('HSETNX', life, 'born', now)
redis.call('HSETNX', life, 'letters', now)
redis.call('PEXPIRE', life, ARGV[3])
local now_ms = math.floor(tonumber(now) / 1000)
if now_ms - tonumber(redis.call('HGET', life, 'echoed') or 0) >= ECHO_MS then
  post(p, node, ARGV[6], ARGV[4], 'kind', 'echo')
  redis.call('HSET', life, 'echoed', now_ms)
end
redis.call('SADD', p .. 'nodes:', node) -- the room without a name is that of all nodes
redis.call('PEXPIRE', p .. 'nodes:', ARGV[3])
local missing = 0
for i = 7, #ARGV do
  local nodes = p .. 'nodes:' .. ARGV[i]
  missing = missing + 1 - redis.call('SISMEMBER', nodes, node)
  redis.call('PEXPIRE', nodes, ARGV[5])
end
local expired = redis.call('ZRANGEBYSCORE', p .. 'leases', '-inf', now_ms, 'LIMIT', 0, 1)
local alive = 0
for _, other in ipairs(redis.call('SMEMBERS', p .. 'nodes:')) do
  if redis.call('EXISTS', p .. 'node:' .. other) == 1 then
    alive = alive + 1
  else
    redis.call('SREM', p .. 'nodes:', other)
  end
end
return { redis.call('HGET', life, 'born'), now_ms, missing, #expired, alive }
