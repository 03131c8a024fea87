cimport cython
from wireproto.core.node_pipeline cimport Batch, Bundle

cdef Py_ssize_t READ, WRITE, MARKER, SHORT
cdef list HIT_HEADS
cdef bytes MISS, OK

cdef class Answers:
    cdef public Py_ssize_t _expected_size, _fading, _let_go_at, in_flight, in_flight_bytes, unsent, window
    cdef public object _limits, _metrics, _on_output, _outcomes, _report_bug, batches
    cdef public list _ready
    cdef public bint abandoned
    cdef public Batch batch
    cpdef answer(self, bytes tag, bytes line)
    cpdef end_of_read(self)
    cpdef note_written(self, Py_ssize_t size)
    @cython.locals(count=Py_ssize_t, kinds=list, slots=list, expected=Py_ssize_t, answers=list, ready=list, hits=Py_ssize_t, misses=Py_ssize_t, stored=Py_ssize_t, untagged=Py_ssize_t, length=Py_ssize_t, line=bytes, kind=Py_ssize_t, hit_heads=list, head=bytes)
    cpdef deliver(self, Bundle bundle, Py_ssize_t first, list replies, Py_ssize_t size, double now)
    cpdef _expect(self, Py_ssize_t size)
    cpdef _settle(self, Bundle bundle, Py_ssize_t count, Py_ssize_t untagged)
