-- Add what a node counted to the bucket of this moment, once, and sum the buckets of the window.
-- ARGV: prefix, era, node, number, bucket ms, buckets, then name and count for each
-- Returns names and sums, flat.
local p, t = ARGV[1] .. 'guard:', redis.call('TIME')
local width, length = tonumber(ARGV[5]), tonumber(ARGV[6])
local now = math.floor((t[1] * 1000 + math.floor(t[2] / 1000)) / width)
local of_era, ttl = p .. 'sums:' .. ARGV[2] .. ':', width * (length + 1)
local seen = p .. 'seen:' .. ARGV[3]
if redis.call('GET', seen) ~= ARGV[4] then
  local bucket = of_era .. now
  for i = 7, #ARGV, 2 do redis.call('HINCRBY', bucket, ARGV[i], ARGV[i + 1]) end
  redis.call('PEXPIRE', bucket, ttl)
  redis.call('SET', seen, ARGV[4], 'PX', ttl)
end
local sums = {}
for at = now - length + 1, now do
  local counts = redis.call('HGETALL', of_era .. at)
  for i = 1, #counts, 2 do sums[counts[i]] = (sums[counts[i]] or 0) + counts[i + 1] end
end
local flat = {}
for name, count in pairs(sums) do
  flat[#flat + 1] = name
  flat[#flat + 1] = count
end
return flat
