-- Put in front of the scripts that end dispatchers: move everything one holds to where others find it.
local function set_free(dispatchers, queue, payments, again, orphans, group, instance)
  redis.call('ZREM', dispatchers, instance)
  local consumer = consumer_of(instance)
  while true do
    local held = redis.call('XPENDING', queue, group, '-', '+', 500, consumer)
    if #held == 0 then
      break
    end
    for _, pending in ipairs(held) do
      local entry = redis.call('XRANGE', queue, pending[1], pending[1])[1]
      local id = entry and entry[2][2]
      local record = id and redis.call('HGET', payments, id)
      if record then
        hand_on(again, orphans, record, pending[1], id)
      end
      redis.call('XACK', queue, group, pending[1])
    end
  end
  redis.call('XGROUP', 'DELCONSUMER', queue, group, consumer)
end

-- Set free what those hold whose heartbeat stopped, `but` one, who asks and so is alive. Returns their names.
local function set_expired_free(dispatchers, queue, payments, again, orphans, group, lasts_ms, but)
  local now = now_ms()
  -- None lasts for longer than one heartbeat from now: the clock was set back since.
  for _, instance in ipairs(redis.call('ZRANGEBYSCORE', dispatchers, '(' .. now + lasts_ms, '+inf')) do
    redis.call('ZADD', dispatchers, 'XX', now + lasts_ms, instance)
  end
  local expired = {}
  for _, instance in ipairs(redis.call('ZRANGEBYSCORE', dispatchers, '-inf', now)) do
    if instance ~= but then
      expired[#expired + 1] = instance
      set_free(dispatchers, queue, payments, again, orphans, group, instance)
    end
  end
  return expired
end
