-- Renew the leases of turns that are still ours.
-- ARGV: prefix, node, lease ms, then turn and epoch for each
local p, t = ARGV[1], redis.call('TIME')
local expires = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[3])
for i = 4, #ARGV, 2 do
  local kept = redis.call('HMGET', p .. 'turn:' .. ARGV[i], 'owner', 'epoch')
  if kept[1] == ARGV[2] and kept[2] == ARGV[i + 1] then
    redis.call('ZADD', p .. 'leases', 'XX', expires, ARGV[i])
  end
end
return 1
