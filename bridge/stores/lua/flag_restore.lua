-- Keep anew those changes of the flag that are later than all that Redis has: it lost them.
-- ARGV: prefix, history length, then id and change of each, the oldest first
local key = ARGV[1] .. 'flag'
local function order(id)
  local time, number = string.match(id, '(%d+)-(%d+)')
  return tonumber(time), tonumber(number)
end
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local last_time, last_number = order(newest and newest[1] or '0-0')
for i = 3, #ARGV, 2 do
  local time, number = order(ARGV[i])
  if time > last_time or (time == last_time and number > last_number) then
    redis.call('XADD', key, 'MAXLEN', ARGV[2], ARGV[i], 'change', ARGV[i + 1])
  end
end
return 1
