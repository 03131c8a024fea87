"""What is read of a client's certificate; real ones are in `test_tls_context`."""

from __future__ import annotations

from wireproto.server.peer_certificate import certificate_end, certificate_names


def test_dns_names_and_uris_go_before_common_names_and_nothing_else_is_a_name() -> None:
    certificate = {
        "subject": ((("countryName", "DE"),), (("commonName", "cn"), ("commonName", "dns"))),
        "subjectAltName": (
            ("email", "a@b"),
            ("DNS", "dns"),
            ("IP Address", "1.2.3.4"),
            ("URI", "spiffe://x"),
            ("DNS", "dns"),
        ),
    }
    assert certificate_names(certificate) == ["dns", "spiffe://x", "cn"]
    assert certificate_names({"subject": ()}) == []


def test_its_end_is_in_unix_time() -> None:
    assert certificate_end({"notAfter": "Jan  1 00:01:40 1970 GMT"}) == 100
