cdef class NamespaceCommands:
    cdef public list expiring_write_heads, read_heads
    cdef public dict plain
    cdef public bytes prefix
