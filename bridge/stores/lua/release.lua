-- Let anybody take a running turn of ours at once.
-- ARGV: prefix, node, turn, epoch
local kept = redis.call('HMGET', ARGV[1] .. 'turn:' .. ARGV[3], 'owner', 'epoch', 'state', 'giver')
if kept[1] == '' and kept[4] == ARGV[2] and kept[2] == ARGV[4] then return 1 end -- a repeat
if kept[1] ~= ARGV[2] or kept[2] ~= ARGV[4] or kept[3] ~= 'running' then return 0 end
redis.call('HSET', ARGV[1] .. 'turn:' .. ARGV[3], 'owner', '', 'giver', ARGV[2])
redis.call('ZADD', ARGV[1] .. 'leases', 0, ARGV[3])
return 1
