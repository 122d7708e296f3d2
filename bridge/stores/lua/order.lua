-- Put orders into the inboxes of all other nodes, or of one; what was put before is not put again.
-- ARGV: prefix, node, inbox length, inbox ms, then for each: number, to whom (empty: all), order (empty: none), how many
--       values its copies have, copies
local p, node, length, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ordered = p .. 'ordered:' .. node
local last = tonumber(redis.call('GET', ordered) or 0)
local i = 5
while i < #ARGV do
  local number, to, order, copies = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if number > last then -- else the answer to it was lost
    last = number
    if order ~= '' and to == '' then
      post_to_others(p, node, '', length, ttl, 'kind', 'ordered', 'node', node, 'order', order)
    elseif order ~= '' and to ~= node then
      post(p, to, length, ttl, 'kind', 'ordered', 'node', node, 'order', order)
    end
    run_copies(i + 4, i + 3 + copies)
  end
  i = i + 4 + copies
end
redis.call('SET', ordered, last, 'PX', ttl)
return last
