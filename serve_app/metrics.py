"""What `GET /metrics` counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

UPLOADS = Counter("prism_uploads", "Files that were uploaded, duplicates included.", registry=REGISTRY)
SEARCHES = Counter("prism_searches", "Searches that were answered.", registry=REGISTRY)
PROCESSING_SECONDS = Histogram(
    "prism_processing_seconds",
    "From the start of indexing a file to its end.",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
    registry=REGISTRY,
)
ACTIVE_FILES = Gauge("prism_active_files", "Files that are waiting to be indexed or being indexed.", registry=REGISTRY)
