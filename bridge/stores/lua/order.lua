-- Put orders into the inboxes of all other nodes, or of one; what was put before is not put again.
-- ARGV: prefix, node, inbox length, inbox ms, then number, to whom (empty: all), order for each
local p, node, length, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ordered = p .. 'ordered:' .. node
local last = tonumber(redis.call('GET', ordered) or 0)
for i = 5, #ARGV, 3 do
  local number, to = tonumber(ARGV[i]), ARGV[i + 1]
  if number > last then -- else the answer to it was lost
    last = number
    if to == '' then
      post_to_others(p, node, '', length, ttl, 'kind', 'ordered', 'node', node, 'order', ARGV[i + 2])
    elseif to ~= node then
      post(p, to, length, ttl, 'kind', 'ordered', 'node', node, 'order', ARGV[i + 2])
    end
  end
end
redis.call('SET', ordered, last, 'PX', ttl)
return last
