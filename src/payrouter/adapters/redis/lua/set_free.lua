-- Put in front of the scripts that end dispatchers: move everything one holds to where others find it.
local function set_free(dispatchers, queue, payments, again, orphans, group, instance)
  redis.call('ZREM', dispatchers, instance)
  while true do
    local held = redis.call('XPENDING', queue, group, '-', '+', 500, instance)
    if #held == 0 then
      break
    end
    for _, pending in ipairs(held) do
      local entry = redis.call('XRANGE', queue, pending[1], pending[1])[1]
      local id = entry and entry[2][2]
      local record = id and redis.call('HGET', payments, id)
      if record then
        local state = string.sub(record, 1, 1)
        if state == 'Q' then
          redis.call('ZADD', again, 0, member(pending[1], id))
        elseif state == 'A' or state == 'P' then
          redis.call('ZADD', orphans, 0, member(pending[1], id))
        end
      end
      redis.call('XACK', queue, group, pending[1])
    end
  end
  redis.call('XGROUP', 'DELCONSUMER', queue, group, instance)
end

-- Set free what those hold whose heartbeat stopped. Returns their names.
local function set_expired_free(dispatchers, queue, payments, again, orphans, group)
  local expired = redis.call('ZRANGEBYSCORE', dispatchers, '-inf', now_ms())
  for _, instance in ipairs(expired) do
    set_free(dispatchers, queue, payments, again, orphans, group, instance)
  end
  return expired
end
