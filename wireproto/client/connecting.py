"""What both clients need to connect: a TLS context, and failures in words."""

from __future__ import annotations

import ssl

from wireproto.client.options import ClientOptions
from wireproto.core.call_plan import copy_of
from wireproto.errors import ConfigurationError, Effect, NodeDownError, RequestError, WireprotoError


def tls_context(options: ClientOptions) -> ssl.SSLContext | None:
    """TLS 1.3, the server's certificate and name checked, and the client's own shown if it has one.

    None for a plain connection. Raises ConfigurationError.
    """
    if not options.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=None if options.ca is None else str(options.ca))
    except (OSError, ssl.SSLError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else "it holds no certificate"
        raise ConfigurationError(f"the authority {options.ca} cannot be read: {reason}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.certificate is not None:
        _load_certificate(context, options)
    return context


def _load_certificate(context: ssl.SSLContext, options: ClientOptions) -> None:
    """Have the context show the client's own certificate where a server asks for it. Raises ConfigurationError."""
    assert options.certificate is not None
    key = options.certificate_key or options.certificate

    def no_password() -> str:
        # Without this OpenSSL asks at the terminal.
        raise ConfigurationError(f"the key {key} of the client's certificate is encrypted; write it without a password")

    try:
        context.load_cert_chain(options.certificate, options.certificate_key, password=no_password)
    except ssl.SSLError as fault:
        is_no_pair = fault.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")
        reason = f"its key {key} belongs to another" if is_no_pair else f"it or its key {key} is no PEM, or damaged"
        raise ConfigurationError(f"the client's certificate {options.certificate} cannot be used: {reason}") from None
    except OSError as fault:
        raise ConfigurationError(
            f"the client's certificate {options.certificate} with key {key} cannot be read: {fault.strerror or fault}"
        ) from None


def connect_failure(fault: OSError | RequestError, options: ClientOptions) -> WireprotoError:
    """Why there is no connection, as an error of ours.

    Nothing took effect in any case. A certificate that is not trusted is a ConfigurationError: no retry will help.
    """
    where = options.address
    if isinstance(fault, RequestError):
        if fault.took_effect is Effect.NO:
            return copy_of(fault)
        return NodeDownError(f"cannot log in to {where}: {fault}")
    if isinstance(fault, ssl.SSLCertVerificationError):
        hint = "" if options.ca is not None else "; ca= names the file of an authority that is not the system's"
        return ConfigurationError(f"the certificate of {where} is not trusted: {fault.verify_message}{hint}")
    if isinstance(fault, ssl.SSLError):
        return NodeDownError(f"no TLS with {where}: {fault.reason or fault}")
    if isinstance(fault, TimeoutError):
        return NodeDownError(f"no connection to {where} in time")
    if isinstance(fault, ConnectionRefusedError):
        return NodeDownError(f"cannot connect to {where}: connection refused")
    return NodeDownError(f"cannot connect to {where}: {fault.strerror or fault or 'the connection was closed'}")


def while_backing_off(error: WireprotoError, remaining: float) -> WireprotoError:
    """What a call is told that comes before the next attempt to connect: what went wrong in the last."""
    if isinstance(error, RequestError):
        error = copy_of(error)
        error.retry_after = remaining
        return error
    return ConfigurationError(str(error))
