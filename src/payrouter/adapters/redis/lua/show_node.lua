-- Take what a process tells of itself, in place of what it told before; those that tell nothing any more go.
-- KEYS: nodes, slots      ARGV: node, role, after how many ms without a word a node is gone, what it tells
-- A slot: the instant, the number, the role. The lowest number that is free in the role is a newcomer's.
-- Returns the node's number.
local nodes, slots = KEYS[1], KEYS[2]
local node, role, gone_ms, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), now_ms()
local taken, mine = {}, nil
local all = redis.call('HGETALL', slots)
for i = 1, #all, 2 do
  local at, number, of = string.match(all[i + 1], '^(%d+) (%d+) (%S+)$')
  if all[i] == node then
    mine = number
  elseif not at or now - tonumber(at) > gone_ms then
    redis.call('HDEL', slots, all[i])
    redis.call('HDEL', nodes, all[i])
  elseif of == role then
    taken[number] = true
  end
end
if not mine then
  local number = 1
  while taken[tostring(number)] do
    number = number + 1
  end
  mine = tostring(number)
end
redis.call('HSET', slots, node, string.format('%.0f', now) .. ' ' .. mine .. ' ' .. role)
redis.call('HSET', nodes, node, ARGV[4])
return tonumber(mine)
