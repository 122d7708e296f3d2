-- Return a turn: its request, its last number, its journal.
-- ARGV: prefix, turn
local kept = redis.call('HMGET', ARGV[1] .. 'turn:' .. ARGV[2], 'request', 'last')
if not kept[1] then return {} end
return { ARGV[2], kept[1], redis.call('XRANGE', ARGV[1] .. 'journal:' .. ARGV[2], '-', '+') }
