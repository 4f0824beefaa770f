-- Put in front of the scripts that write notices: what webhooks are still to tell, by when it is due (Redis' clock, us).
-- A member is the event, one digit, and the payment's id. What is not claimed yet waits since it is due.
local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Write notices of one event; what was noted before of the same payment begins anew.
local function note(notices, since, tries, event, ids, due_us)
  local members, scored = {}, {}
  for n, id in ipairs(ids) do
    members[n] = event .. id
    scored[2 * n - 1] = whole(due_us)
    scored[2 * n] = event .. id
  end
  in_chunks(scored, 1000, function(...)
    redis.call('ZADD', notices, ...)
  end)
  in_chunks(members, 500, function(...)
    redis.call('ZREM', since, ...)
    redis.call('HDEL', tries, ...)
  end)
end

-- Whether a notice is still the one that was claimed, and nothing was noted anew.
local function is_claimed(since, member, at_us)
  local at = redis.call('ZSCORE', since, member)
  return at and tonumber(at) == tonumber(at_us)
end

local function forget_notice(notices, since, tries, member)
  redis.call('ZREM', notices, member)
  redis.call('ZREM', since, member)
  redis.call('HDEL', tries, member)
end
