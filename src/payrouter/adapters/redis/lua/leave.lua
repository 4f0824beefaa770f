-- A dispatcher goes: what it holds is free at once.
-- KEYS: dispatchers, queue, payments, again, orphans       ARGV: instance, group
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
set_free(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2], ARGV[1])
return 1
