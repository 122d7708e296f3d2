-- Put messages that belong to no turn into the inboxes of the other nodes of a room.
-- ARGV: prefix, node, room, batch, inbox length
local p, nodes = ARGV[1], ARGV[1] .. 'nodes:' .. ARGV[3]
for _, other in ipairs(redis.call('SMEMBERS', nodes)) do
  if other ~= ARGV[2] then
    if redis.call('EXISTS', p .. 'node:' .. other) == 1 then
      redis.call('XADD', p .. 'inbox:' .. other, 'MAXLEN', '~', ARGV[5], '*', 'kind', 'told', 'room', ARGV[3],
        'batch', ARGV[4])
    else
      redis.call('SREM', nodes, other)
    end
  end
end
return 1
