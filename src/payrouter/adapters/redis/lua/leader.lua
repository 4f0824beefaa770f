#!lua flags=allow-oom
-- Shared by the scripts around the lease; put in front of each. They run in a full Redis too: what they write stays
-- as small as it is. Instants are microseconds of Redis' own clock.

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Lua would write such numbers with an exponent.
local function text(number)
  return string.format('%d', number)
end

-- Return true while this node's token is the current lease's.
local function leads(leader, node, token)
  local held = redis.call('HMGET', leader, 'node', 'token', 'until_us')
  return held[1] == node and held[2] == token and tonumber(held[3]) > now_us()
end
