cimport cython
from wireproto.core.answers cimport Answers
from wireproto.core.commands cimport NamespaceCommands
from wireproto.core.node_pipeline cimport Batch, Bundle, NodePipeline

cdef Py_ssize_t _LF, _SPACE, _HASH, _ZERO, _NINE, _COLON, _NO_LENGTH, _LONGEST_EXPIRY
cdef Py_ssize_t READ, WRITE, MARKER, SHIFT, BRACE, MAX_TAG, MAX_BULK_HEAD, PLACES_OF_A_REPLY
cdef object mmh3_32_uintdigest, bulk_head
cdef list BULK_HEADS, EMPTY_REPLY

cdef class Dispatch:
    cdef public Answers _answers
    cdef public list _bundles, _owners, _pipelines
    cdef public object _limits, _ring
    cdef public NamespaceCommands commands
    @cython.locals(commands=NamespaceCommands, answers=Answers, bundles=list, read_heads=list, bulk_heads=list, words=list, table=bytes, batch=Batch, max_key=Py_ssize_t, max_value=Py_ssize_t, place=Py_ssize_t, first_place=Py_ssize_t, left=Py_ssize_t, byte_room=Py_ssize_t, first_byte_room=Py_ssize_t, begin=Py_ssize_t, end=Py_ssize_t, cursor=Py_ssize_t, tag=bytes, kind=Py_ssize_t, heads=list, length=Py_ssize_t, digit=Py_ssize_t, start=Py_ssize_t, ending=Py_ssize_t, key=bytes, owner=Py_ssize_t, bundle=Bundle, size=Py_ssize_t, value=bytes, size_head=bytes, option=bytes, time=bytes, untagged=Py_ssize_t, taken=Py_ssize_t)
    cpdef Py_ssize_t take_plain(self, bytes data, Py_ssize_t position, Py_ssize_t room, double now)
    @cython.locals(bundle=Bundle)
    cpdef Bundle _bundle(self, Py_ssize_t owner, double now)
    @cython.locals(owners=list)
    cpdef submit(self)
    @cython.locals(bundle=Bundle, pipeline=NodePipeline)
    cpdef _submit_one(self, Py_ssize_t owner)
