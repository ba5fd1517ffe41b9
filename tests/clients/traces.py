"""Reads a body of OTLP/JSON on standard input with OpenTelemetry's own types, which know every field, and prints what it read as JSON."""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

NAMES = ("traceId", "spanId", "parentSpanId")


def renamed(value):
    """OTLP writes these names in hexadecimal, where Protocol Buffers' JSON has base64."""
    if isinstance(value, list):
        return [renamed(one) for one in value]
    if not isinstance(value, dict):
        return value
    as_base64 = lambda text: base64.b64encode(bytes.fromhex(text)).decode()
    return {name: as_base64(one) if name in NAMES else renamed(one) for name, one in value.items()}


request = ExportTraceServiceRequest()
# What it does not know is an error.
json_format.ParseDict(renamed(json.load(sys.stdin)), request)
[source] = request.resource_spans
[scope] = source.scope_spans
texts = lambda of: {one.key: one.value.string_value or one.value.int_value for one in of.attributes}
json.dump(
    {
        "service": texts(source.resource)["service.name"],
        "scope": scope.scope.name,
        "spans": [
            {
                "trace": span.trace_id.hex(),
                "span": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "name": span.name,
                "kind": span.kind,
                "nanoseconds": span.end_time_unix_nano - span.start_time_unix_nano,
                "run": texts(span)["relight.run"],
                "step": texts(span).get("relight.step", 0),
                "status": [span.status.code, span.status.message],
                "events": [event.name for event in span.events],
                "links": [link.span_id.hex() for link in span.links],
            }
            for span in scope.spans
        ],
    },
    sys.stdout,
)
