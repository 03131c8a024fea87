cimport cython
from wireproto.core.answers cimport Answers
from wireproto.core.dispatch cimport Dispatch

cdef class ServerSession:
    cdef public object state, login, _context, _limits, _parser, _on_output
    cdef public bint writing_stopped, _blocked, _input_ended
    cdef public double last_request_at, _now, _expires_at
    cdef public str _peer
    cdef public Answers _answers
    cdef public Dispatch _dispatch
    cdef public list _chunks
    cdef public Py_ssize_t _held, _need, _weight
    cpdef receive(self, bytes chunk, double now)
    cpdef Py_ssize_t _room(self)
    @cython.locals(position=Py_ssize_t, end=Py_ssize_t, room=Py_ssize_t, taken_to=Py_ssize_t)
    cpdef _read_requests(self, bytes data)
