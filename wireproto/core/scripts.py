"""The scripts that run on the nodes: what must look and act in one step (`docs/PROTOCOL.md`, section 3).

Each is loaded when a connection to a node begins (SCRIPT LOAD, and EVALSHA from then on:
https://redis.io/docs/latest/develop/programmability/eval-intro), and again when the node says that it does not know it.
A script changes one key. It is told the time, in milliseconds since 1970, by the server: what is `fresh until` a
moment is judged by one clock, that of whoever wrote it there.

What most calls meet is looked for first, in as few commands as can be: to call Redis from a script costs a microsecond,
and to make the functions for envelopes another two. (`pcall` there: a key that holds something else, such as a list,
can be written over and touched.) Behind it an envelope (`envelope`) is a table; that of a value without one, or with
one that is damaged, says that it has no version, no lease and no time of its own. So nothing here makes a damaged
envelope whole. A key is `present` if it has a value that is fresh, and `servable` if that may at least be given to
those who ask with a lease.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

_BEGINNING: Final = rb"""
local KEY, NOW = KEYS[1], tonumber(ARGV[1])
"""
"""What all of them begin with. ARGV[1] is the time."""

_ENVELOPES: Final = rb"""
local ENVELOPE, VACANCY, NONE, HEAD = '\255E', '\255V', string.rep(' ', 16), 76
local function time(milliseconds) return string.format('%014.0f', milliseconds) end
local function open(stored)
  if string.sub(stored, 1, 2) ~= ENVELOPE or #stored < HEAD
    or string.find(string.sub(stored, 19, 46) .. string.sub(stored, 63, HEAD), '%D') then
    return {version = NONE, fresh = 0, stale = 0, lease = NONE, lease_until = 0, value = stored, bare = true}
  end
  return {version = string.sub(stored, 3, 18), fresh = tonumber(string.sub(stored, 19, 32)),
    stale = tonumber(string.sub(stored, 33, 46)), lease = string.sub(stored, 47, 62),
    lease_until = tonumber(string.sub(stored, 63, HEAD)), value = string.sub(stored, HEAD + 1)}
end
local function close(e)
  if e.version == NONE and e.lease == NONE and e.fresh == 0 then return e.value end
  return ENVELOPE .. e.version .. time(e.fresh) .. time(e.stale) .. e.lease .. time(e.lease_until) .. e.value
end
local function put(e, keeps_expiry)
  if e.fresh == 0 or keeps_expiry then return redis.call('SET', KEY, close(e), 'KEEPTTL') end
  local forgotten = math.max(e.fresh + e.stale, e.lease_until)
  return redis.call('SET', KEY, close(e), 'PX', string.format('%.0f', math.max(1, forgotten - NOW)))
end
local stored = redis.call('GET', KEY)
local vacant = stored and #stored == 32 and string.sub(stored, 1, 2) == VACANCY
local e = stored and not vacant and open(stored)
local present = e and (e.fresh == 0 or e.fresh > NOW)
local servable = e and (present or e.fresh + e.stale > NOW)
local function is_held_by(lease)
  if vacant then return string.sub(stored, 3, 18) == lease end
  return e and e.lease == lease and e.lease_until > NOW and lease ~= NONE
end
"""
"""What is needed where there may be an envelope."""

_READ: Final = (
    rb"""
local version, lease = ARGV[2], ARGV[3]
local found = redis.call('GET', KEY)
if not found then
  if lease == '' then return {false, -1, false, 0, 0} end
  redis.call('SET', KEY, '\255V' .. lease .. string.format('%014.0f', NOW + ARGV[4]), 'PX', ARGV[4])
  return {false, -1, lease, 0, 0}
end
if lease == '' and (version == '' and string.byte(found) ~= 255 or string.sub(found, 1, 2) == '\255E'
  and string.byte(found, 3) ~= 32 and string.sub(found, 19, 32) == '00000000000000') then
  return {found, redis.call('PTTL', KEY), false, 0, 0}
end
"""
    + _ENVELOPES
    + rb"""
local lease_ms, early = tonumber(ARGV[4]), tonumber(ARGV[5])
if not servable then
  if lease == '' then return {false, -1, false, 0, 0} end
  if vacant then return {false, -1, false, math.max(1, redis.call('PTTL', KEY)), 0} end
  if e.lease_until > NOW then return {false, -1, false, e.lease_until - NOW, 0} end
  redis.call('SET', KEY, VACANCY .. lease .. time(NOW + lease_ms), 'PX', ARGV[4])
  return {false, -1, lease, 0, 0}
end
if not present and lease == '' then return {false, -1, false, 0, 0} end
local left, granted, held, changed = redis.call('PTTL', KEY), false, 0, false
if e.fresh > 0 then left = e.fresh - NOW end
if version ~= '' and present and e.version == NONE then e.version, changed = version, true end
if lease ~= '' and (not present or (left >= 0 and left < early)) then
  if e.lease_until > NOW then
    held = e.lease_until - NOW
  else
    if e.fresh == 0 then e.fresh = NOW + left end
    e.lease, e.lease_until, granted, changed = lease, NOW + lease_ms, lease, true
  end
end
if changed then
  local done, problem = pcall(put, e, not granted)
  if not done then
    local text = type(problem) == 'table' and problem.err or tostring(problem)
    if version ~= '' or not string.find(text, 'OOM', 1, true) then return redis.error_reply(text) end
    return {stored, left, false, 0, present and 0 or 1}
  end
end
return {changed and close(e) or stored, left, granted, held, present and 0 or 1}
"""
)
"""A version to give to a value that has none, or ''; a lease to grant, or '', and for how long; and how early. Returns
what is stored (nil: absent), the time left (-1: no end), the lease if it was granted, for how long another has it, and
whether the value is stale. If the node has no memory left, a value that is there is given without a lease."""

_WRITE: Final = (
    rb"""
local condition, operand, version, expiry, value = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[8]
local is_bare = ARGV[6] == '0'
if condition == 'nx' and is_bare then
  local done
  if expiry == '' or expiry == 'keepttl' then done = redis.call('SET', KEY, value, 'NX')
  else done = redis.call('SET', KEY, value, 'NX', 'PX', expiry) end
  if done then return done end
end
if is_bare and (condition == 'nx' or condition == 'xx') then
  local found = redis.pcall('GETRANGE', KEY, 0, 1)
  if type(found) == 'table' and not string.find(found.err, 'WRONGTYPE', 1, true) then return found end
  if found ~= '\255E' and found ~= '\255V' then
    if condition == 'nx' then return false end
    if expiry == '' then return redis.call('SET', KEY, value, 'XX') end
    if expiry == 'keepttl' then return redis.call('SET', KEY, value, 'XX', 'KEEPTTL') end
    return redis.call('SET', KEY, value, 'XX', 'PX', expiry)
  end
end
"""
    + _ENVELOPES
    + rb"""
if condition == 'nx' and present or condition == 'xx' and not present
  or condition == 'ver' and not (present and e.version == operand and operand ~= NONE)
  or condition == 'lease' and not is_held_by(operand) then return false end
local new = {version = version, fresh = tonumber(ARGV[6]), stale = tonumber(ARGV[7]), lease = NONE, lease_until = 0,
  value = value}
if expiry == 'keepttl' and present and e.fresh > 0 then
  new.fresh, new.stale = e.fresh, e.stale
  put(new)
elseif expiry == 'keepttl' and present then
  redis.call('SET', KEY, close(new), 'KEEPTTL')
elseif expiry == 'keepttl' or expiry == '' then
  redis.call('SET', KEY, close(new))
else
  redis.call('SET', KEY, close(new), 'PX', expiry)
end
if version ~= NONE then return version end
return redis.status_reply('OK')
"""
)
"""A condition (nx, xx, ver, lease or '') and its operand; the version that the value gets, or spaces; milliseconds
after which the node forgets it, '' or keepttl; `fresh until` and `stale` of an envelope; and the value. Returns nil if
the condition did not hold, else OK, or the version."""

_DELETE: Final = (
    _ENVELOPES
    + rb"""
if ARGV[2] == 'ver' then
  if not present then return 0 end
  if e.version ~= ARGV[3] then return -1 end
  redis.call('UNLINK', KEY)
  return 1
end
if not is_held_by(ARGV[3]) then return -1 end
if vacant or not servable then
  redis.call('UNLINK', KEY)
else
  e.lease, e.lease_until = NONE, 0
  put(e)
end
return 1
"""
)
"""A condition (ver or lease) and its operand. Returns 1 if it is done, 0 if the key is absent, -1 if the condition did
not hold. With `lease` only the lease is removed."""

_TOUCH: Final = (
    rb"""
local found = redis.pcall('GETRANGE', KEY, 0, 1)
if type(found) == 'table' and not string.find(found.err, 'WRONGTYPE', 1, true) then return found end
if found ~= '\255E' and found ~= '\255V' then return redis.call('PEXPIRE', KEY, ARGV[2]) end
"""
    + _ENVELOPES
    + rb"""
if not present then return 0 end
if e.fresh == 0 then return redis.call('PEXPIRE', KEY, ARGV[2]) end
e.fresh = NOW + tonumber(ARGV[2])
put(e)
return 1
"""
)
"""A time to live in milliseconds. Returns whether the key is present."""

_INCR: Final = (
    rb"""
local by, expiry = ARGV[2], ARGV[3]
if expiry ~= '' and redis.call('SET', KEY, by, 'NX', 'PX', expiry) then return by end
local sum = redis.pcall('INCRBY', KEY, by)
if type(sum) == 'number' then
  if math.abs(sum) < 9007199254740992 then return string.format('%.0f', sum) end
  return redis.call('GET', KEY)
end
local function is_no_sum(refusal)
  return string.find(refusal.err, 'integer', 1, true) or string.find(refusal.err, 'overflow', 1, true)
end
if not is_no_sum(sum) then return sum end
"""
    + _ENVELOPES
    + rb"""
if not present then
  if expiry == '' then redis.call('SET', KEY, by) else redis.call('SET', KEY, by, 'PX', expiry) end
  return by
end
local value = e.value
if #value > 20 or not (value == '0' or string.find(value, '^%-?[1-9]%d*$')) then
  return redis.error_reply('TYPE value')
end
if e.bare then return redis.error_reply('TYPE overflow') end
local left = redis.call('PTTL', KEY)
if e.fresh == 0 then redis.call('SET', KEY, value, 'KEEPTTL')
else redis.call('SET', KEY, value, 'PX', string.format('%.0f', e.fresh - NOW)) end
sum = redis.pcall('INCRBY', KEY, by)
if type(sum) == 'table' then
  if left < 0 then redis.call('SET', KEY, stored) else redis.call('SET', KEY, stored, 'PX', math.max(1, left)) end
  return is_no_sum(sum) and redis.error_reply('TYPE overflow') or sum
end
return redis.call('GET', KEY)
"""
)
"""What to add; and milliseconds after which the node forgets it, if it is absent, or ''. Returns the counter as it is
then, as text, for Lua's numbers hold 53 bits only."""


class Script:
    """A script: its text, and the name by which a node knows it once it is loaded."""

    __slots__ = ("name", "text")

    def __init__(self, body: bytes) -> None:
        self.text = (_BEGINNING + body).strip() + b"\n"
        self.name = sha1(self.text, usedforsecurity=False).hexdigest().encode("ascii")


READ_SCRIPT: Final = Script(_READ)
WRITE_SCRIPT: Final = Script(_WRITE)
DELETE_SCRIPT: Final = Script(_DELETE)
TOUCH_SCRIPT: Final = Script(_TOUCH)
INCR_SCRIPT: Final = Script(_INCR)
SCRIPTS: Final = (READ_SCRIPT, WRITE_SCRIPT, DELETE_SCRIPT, TOUCH_SCRIPT, INCR_SCRIPT)
