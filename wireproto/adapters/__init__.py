"""The cache interfaces of other packages, each in a module of its own that needs that package and no other.

    cachelib   a cache for cachelib, and so for Flask-Caching and Flask-Session
    django     a cache backend for Django
    dogpile    a backend for dogpile.cache

What they share: clients (one for all that give the same URL and options), keyspace (how a key is stored, and what
clear() does), lifetimes, counting and locks. Nothing of it is imported by the rest of the package.

All three turn objects into bytes with pickle unless they are told otherwise, as their hosts' own backends do. Whoever
can write to the cache can then run code in whatever reads it: give such an API key a namespace of its own.
"""
