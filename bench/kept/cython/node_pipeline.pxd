cimport cython

cdef class Batch:
    cdef public list replies
    cdef public Py_ssize_t missing, sent

cdef class Bundle:
    cdef public object owner, traced
    cdef public Batch batch
    cdef public list commands, kinds, slots
    cdef public Py_ssize_t cost, answered
    cdef public double received_at, sent_at, deadline
    cdef public str node

cdef class NodePipeline:
    cdef public bint _has_deadlines, stopped
    cdef public object _reader, _wake, in_flight, waiting, state
    cdef public Py_ssize_t _received, in_flight_requests, max_bytes, max_reply, max_requests, queued_bytes, waiting_requests
    cdef public str name
    cdef public double round_trip
    @cython.locals(count=Py_ssize_t)
    cpdef submit(self, Bundle bundle)
    @cython.locals(pieces=list, bundle=Bundle)
    cpdef bytes data_to_send(self, double now)
    cpdef receive(self, object data, double now)
    @cython.locals(position=Py_ssize_t, end=Py_ssize_t, bundle=Bundle, first=Py_ssize_t, wanted=Py_ssize_t, taken=list, count=Py_ssize_t)
    cpdef _hand_out(self, list replies, Py_ssize_t size_of_one, double now)
