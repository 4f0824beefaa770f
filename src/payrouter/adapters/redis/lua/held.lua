-- KEYS: dispatchers, queue      ARGV: instance, group
-- Returns nil when the instance is fenced, else id and entry of each payment delivered to it.
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
local found, from, consumer = {}, '-', consumer_of(ARGV[1])
while true do
  local held = redis.call('XPENDING', KEYS[2], ARGV[2], from, '+', 500, consumer)
  if #held == 0 then
    return found
  end
  for _, pending in ipairs(held) do
    local entry = redis.call('XRANGE', KEYS[2], pending[1], pending[1])[1]
    if entry then
      found[#found + 1] = entry[2][2]
      found[#found + 1] = pending[1]
    end
    from = '(' .. pending[1]
  end
end
