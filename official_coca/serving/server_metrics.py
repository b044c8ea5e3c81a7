"""What the model server counts, for Prometheus."""

import functools

import prometheus_client

# Seconds; a captioner on a CPU takes tens of milliseconds to seconds.
_LATENCIES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServerMetrics:
    """The counters of one server in a registry of their own, with the process' memory and time."""

    def __init__(self):
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        requests = prometheus_client.Counter(
            "coca_server_requests",
            "Predict requests by signature and HTTP status",
            ["signature", "code"],
            registry=self._registry,
        )
        latency = prometheus_client.Histogram(
            "coca_server_request_seconds",
            "Time from a predict request's headers to its answer",
            ["signature"],
            buckets=_LATENCIES,
            registry=self._registry,
        )
        batch_size = prometheus_client.Histogram(
            "coca_server_batch_rows",
            "Rows of a call of the model, before padding",
            ["signature"],
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        self._expired = prometheus_client.Counter(
            "coca_server_expired_requests",
            "Requests dropped from the queue: past their deadline, or their client had gone",
            registry=self._registry,
        )
        # By the values of their labels, which take as long to look up as to count.
        self._requests, self._latency, self._batch_size = (
            functools.cache(metric.labels) for metric in (requests, latency, batch_size)
        )
        self._queue_depth = self._gauge("coca_server_queue_depth", "Requests that wait for a batch")
        self._version = self._gauge("coca_server_model_version", "Version served; -1 while none is")

    def count_request(self, signature_name, status, seconds):
        """Counts an answered request; signature_name: "" where none could be read from the request."""
        self._requests(signature_name, str(status)).inc()
        self._latency(signature_name).observe(seconds)

    def count_batch(self, signature_name, rows):
        """Counts a call of the model."""
        self._batch_size(signature_name).observe(rows)

    def count_expired(self):
        """Counts a request that was dropped from the queue."""
        self._expired.inc()

    def watch(self, queue_depth, version_number):
        """Takes the functions that are asked for their value at each scrape."""
        self._queue_depth.set_function(queue_depth)
        self._version.set_function(version_number)

    def write(self):
        """Returns (bytes of the exposition format, its content type)."""
        return (
            prometheus_client.generate_latest(self._registry),
            prometheus_client.CONTENT_TYPE_LATEST,
        )

    def _gauge(self, name, description):
        return prometheus_client.Gauge(name, description, registry=self._registry)
