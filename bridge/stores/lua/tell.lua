-- Put messages that belong to no turn into the inboxes of the other nodes of a room, once.
-- ARGV: prefix, node, room, batch, inbox length, inbox ms, a name for this telling, how long it is known in ms,
--       copies
local told = ARGV[1] .. 'told:' .. ARGV[7]
if not redis.call('SET', told, 1, 'NX', 'PX', ARGV[8]) then return 0 end -- the answer to it was lost
post_to_others(ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6], 'kind', 'told', 'room', ARGV[3], 'batch', ARGV[4])
run_copies(9)
return 1
