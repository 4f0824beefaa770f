-- Forget claimed notices: they were told, or given up.
-- KEYS: notices, notices-since, notices-tries       ARGV: member and since when it waits of each
for i = 1, #ARGV, 2 do
  if is_claimed(KEYS[2], ARGV[i], ARGV[i + 1]) then
    forget_notice(KEYS[1], KEYS[2], KEYS[3], ARGV[i])
  end
end
return 1
