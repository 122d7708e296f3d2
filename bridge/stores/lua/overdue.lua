-- Take over turns whose lease has expired: the fence moves and the lease is ours, in one step.
-- Not by a node that was, or whose call was, out of touch: then the owners may have had no chance to renew.
-- ARGV: prefix, node, lease ms, how many, last beat ms, in touch since ms, ttl ms
local p, t = ARGV[1], redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local lease = tonumber(ARGV[3])
local expired = now
if now - tonumber(ARGV[5]) > lease / 2 or now - tonumber(ARGV[6]) < lease then
  expired = 0 -- but what its owner gave away is anybody's
end
local taken = {}
for _, turn in ipairs(redis.call('ZRANGEBYSCORE', p .. 'leases', '-inf', expired, 'LIMIT', 0, ARGV[4])) do
  local key = p .. 'turn:' .. turn
  local kept = redis.call('HMGET', key, 'state', 'prompt', 'streaming', 'digest', 'position', 'stop', 'room')
  if kept[1] == 'running' and kept[2] then
    local epoch = redis.call('HINCRBY', key, 'epoch', 1)
    redis.call('HSET', key, 'owner', ARGV[2])
    redis.call('ZADD', p .. 'leases', now + lease, turn)
    for _, each in ipairs({ key, p .. 'journal:' .. turn, p .. 'running:' .. kept[7] }) do
      redis.call('PEXPIRE', each, ARGV[7])
    end
    taken[#taken + 1] = { turn, epoch, kept[2], kept[3], kept[4], kept[5], kept[6] or '',
      redis.call('XRANGE', p .. 'journal:' .. turn, '-', '+') }
  else
    redis.call('ZREM', p .. 'leases', turn)
  end
end
return taken
