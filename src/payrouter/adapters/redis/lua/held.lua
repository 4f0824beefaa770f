-- KEYS: dispatchers, queue      ARGV: instance, group
-- Returns nil when the instance is fenced, else the ids of the payments delivered to it.
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
local ids, from = {}, '-'
while true do
  local held = redis.call('XPENDING', KEYS[2], ARGV[2], from, '+', 500, ARGV[1])
  if #held == 0 then
    return ids
  end
  for _, pending in ipairs(held) do
    local entry = redis.call('XRANGE', KEYS[2], pending[1], pending[1])[1]
    if entry then
      ids[#ids + 1] = entry[2][2]
    end
    from = '(' .. pending[1]
  end
end
