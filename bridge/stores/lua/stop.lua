-- Mark a running turn to be stopped, and tell its owner.
-- ARGV: prefix, turn, inbox length, inbox ms
local p, key = ARGV[1], ARGV[1] .. 'turn:' .. ARGV[2]
local kept = redis.call('HMGET', key, 'state', 'owner')
if kept[1] ~= 'running' then return 0 end
redis.call('HSET', key, 'stop', 1)
post(p, kept[2], ARGV[3], ARGV[4], 'kind', 'stop', 'turn', ARGV[2])
return 1
