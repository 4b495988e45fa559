"""The nodes of the graph: one for each deployment behind the ingress.

Binding, the ingress's handles, health, memory and `serve_app.check` read these, and so does the test that compares
them with `serve_config.yaml`. A new deployment is a new node. Classes are named by import path, so that the ingress
does not import torch, OpenCV or libav.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from deployments.answerer.protocol import AnswererService
from deployments.captioner.protocol import CaptionerService
from deployments.document_parser.protocol import DocumentParserService
from deployments.embedder.protocol import EmbedderService
from deployments.frame_sampler.protocol import FrameSamplerService
from deployments.indexing.protocol import IndexingService
from deployments.library.protocol import LibraryService
from deployments.malloc import MALLOC_ENVIRONMENT
from deployments.text_reader.protocol import TextReaderService
from deployments.transcriber.protocol import TranscriberService
from deployments.worker_threads import MAX_CONCURRENT_CALLS

S = TypeVar("S")

INGRESS = "Ingress"
"""The ingress's name in Serve."""

MAX_QUEUED_CALLS = 64
"""Calls that wait in Serve for a replica of one deployment; one more is answered SERVER_BUSY."""

SHUTDOWN_TIMEOUT_S = 5
"""After Ctrl-C, seconds until a replica that is still working is killed."""

SHUTDOWN_POLL_S = 0.2
"""How often Serve looks whether a replica that it ends has finished its calls; its own default is 2 s."""

HEALTH_CHECK_PERIOD_S = 2
"""How often Serve looks whether a replica's process is alive; its own default is 10 s."""

Replay = Literal["always", "with_request_id", "never"]
"""Whether a call is made a second time if its replica dies while working on it.

`always`: the method only computes, so calling it twice does no harm. `with_request_id`: the method takes the keyword
`request_id`, the same for both calls, and returns the first call's result for an id that it has already served.
`never`: the caller gets an error that says the outcome is unknown.
"""


LIFE_OPTIONS: Mapping[str, Any] = {
    "health_check_period_s": HEALTH_CHECK_PERIOD_S,
    "graceful_shutdown_timeout_s": SHUTDOWN_TIMEOUT_S,
    "graceful_shutdown_wait_loop_s": SHUTDOWN_POLL_S,
}
"""The options of every deployment that decide how soon a dead replica is replaced and a running one ended."""


@dataclass(frozen=True)
class Node(Generic[S]):
    """One deployment. `AppContext.service(node)` returns its service, typed by `protocol`."""

    name: str
    """Its name in Serve and in the YAML's `deployments:`."""
    class_path: str
    """`module:class` of the deployment. The class gets `sections` as keywords."""
    protocol: type[S]
    """The methods that the rest of the graph calls; a test compares them with the class."""
    sections: tuple[str, ...]
    """The sections of the settings that the class takes, each under its name."""
    methods: Mapping[str, Replay]
    """Every method of `protocol`, and whether it may be replayed."""
    streaming_methods: frozenset[str] = frozenset()
    """Those of `methods` that are asynchronous generators. One that is replayed yields its items anew, and the caller
    passes over those that it has had."""
    model_section: str | None = None
    """The section whose model the deployment holds. Such a class has a method `status`, which health asks, and takes
    the keyword `lazy`."""
    other_model_sections: tuple[str, ...] = ()
    """Sections of further models in the same process, which are loaded when they are first needed. The package of each
    is within the deployment's and has the section's name."""
    is_always_lazy: bool = False
    """Whether the model is loaded when it is first needed, whatever `serving.lazy_loading` says."""
    uses: tuple["Node[Any]", ...] = ()
    """The deployments that this one calls, for work in the background. The class takes the service of each under the
    name of its package, and the keywords `wait_for_turn` and `share` (serve_app/background.py)."""
    max_ongoing_requests: int = MAX_CONCURRENT_CALLS
    """Calls that the replica works on at once; those that wait for each other or for events do not need a thread."""
    has_threads: bool = False
    """Whether it does blocking work in WorkerThreads. Such a class is a `ThreadedDeployment`, whose overdue work health
    names before Serve replaces the process."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its process."""
    routes: str | None = None
    """`module:router` of the routes that belong to this deployment alone. Analyses, which use several deployments, are
    in serve_app/routes."""

    @property
    def model_packages(self) -> Mapping[str, str]:
        """The sections of its models, and the package of each."""
        own = {self.model_section: self.package} if self.model_section else {}
        return own | {section: f"{self.package}.{section}" for section in self.other_model_sections}

    @property
    def package(self) -> str:
        """The package that the class is in."""
        return self.class_path.partition(":")[0].rpartition(".")[0]

    @property
    def keyword(self) -> str:
        """The name under which the class of another deployment takes this one's service."""
        return self.package.rpartition(".")[2]

    def is_lazy(self, lazy_loading: bool) -> bool:
        """Return whether the model is loaded when it is first needed; `lazy_loading` is the setting for all models."""
        return lazy_loading or self.is_always_lazy

    def serve_options(self) -> dict[str, Any]:
        """Return the options that Serve uses unless the YAML sets them; `serve_config.yaml` repeats them."""
        actor: dict[str, Any] = {"num_cpus": 0}
        if self.environment:
            actor["runtime_env"] = {"env_vars": dict(self.environment)}
        return {
            "name": self.name,
            "num_replicas": 1,
            "max_ongoing_requests": self.max_ongoing_requests,
            "max_queued_requests": MAX_QUEUED_CALLS,
            **LIFE_OPTIONS,
            "ray_actor_options": actor,
        }


CAPTIONER = Node(
    name="Captioner",
    class_path="deployments.captioner.deployment:CaptionerDeployment",
    protocol=CaptionerService,
    sections=("captioner", "weights", "limits"),
    methods={
        "caption_image": "always",
        "stream_image_caption": "always",
        "caption_frames": "always",
        "summarize": "always",
    },
    streaming_methods=frozenset({"stream_image_caption"}),
    model_section="captioner",
    has_threads=True,
    environment=MALLOC_ENVIRONMENT,
)

TRANSCRIBER = Node(
    name="Transcriber",
    class_path="deployments.transcriber.deployment:TranscriberDeployment",
    protocol=TranscriberService,
    sections=("transcriber", "speakers", "weights"),
    methods={"transcribe": "always", "stream_transcript": "always"},
    streaming_methods=frozenset({"stream_transcript"}),
    model_section="transcriber",
    other_model_sections=("speakers",),
    has_threads=True,
)

FRAME_SAMPLER = Node(
    name="FrameSampler",
    class_path="deployments.frame_sampler.deployment:FrameSamplerDeployment",
    protocol=FrameSamplerService,
    sections=("frame_sampler",),
    methods={"sample": "always"},
    has_threads=True,
)

DOCUMENT_PARSER = Node(
    name="DocumentParser",
    class_path="deployments.document_parser.deployment:DocumentParserDeployment",
    protocol=DocumentParserService,
    sections=("document_parser",),
    methods={
        "open": "always",
        "read_pages": "always",
        "find_words": "always",
        "render_page": "always",
        "read_paragraphs": "always",
    },
    has_threads=True,
)

TEXT_READER = Node(
    name="TextReader",
    class_path="deployments.text_reader.deployment:TextReaderDeployment",
    protocol=TextReaderService,
    sections=("text_reader",),
    methods={"read_image": "always", "read_pixels": "always", "decode": "always"},
    model_section="text_reader",
    is_always_lazy=True,
    has_threads=True,
)

ONE_BLAS_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment for processes whose matrix products run in the thread that asks for them. numpy and FAISS start their
threads when they are imported."""

EMBEDDER = Node(
    name="Embedder",
    class_path="deployments.embedder.deployment:EmbedderDeployment",
    protocol=EmbedderService,
    sections=("embedder", "weights"),
    methods={"embed_query": "always", "embed_passages": "always", "count_tokens": "always"},
    model_section="embedder",
    is_always_lazy=True,
    max_ongoing_requests=16,
    environment=ONE_BLAS_THREAD,
    has_threads=True,
)

LIBRARY = Node(
    name="Library",
    class_path="deployments.library.deployment:LibraryDeployment",
    protocol=LibraryService,
    sections=("library",),
    methods={
        "add_file": "with_request_id",
        "files": "always",
        "file": "always",
        "chunks": "always",
        "chunk": "always",
        "original": "always",
        "original_part": "always",
        "delete_file": "with_request_id",
        "retry_file": "with_request_id",
        "search": "always",
        "add_history": "with_request_id",
        "history": "always",
        "clear_history": "with_request_id",
        "events": "always",
        "stats": "always",
        "verify": "always",
        "rebuild": "always",
        "compact": "always",
        "checkpoint": "always",
        "lease_job": "with_request_id",
        "report_progress": "always",
        "add_chunks": "always",
        "complete_job": "with_request_id",
        "fail_job": "with_request_id",
        "release_job": "with_request_id",
    },
    max_ongoing_requests=64,
    routes="serve_app.routes.library:router",
    environment=ONE_BLAS_THREAD,
    has_threads=True,
)

ANSWERER = Node(
    name="Answerer",
    class_path="deployments.answerer.deployment:AnswererDeployment",
    protocol=AnswererService,
    sections=("answerer", "weights"),
    methods={"answer": "never"},
    streaming_methods=frozenset({"answer"}),
    model_section="answerer",
    is_always_lazy=True,
    max_ongoing_requests=16,
    has_threads=True,
)

INDEXING = Node(
    name="Indexing",
    class_path="deployments.indexing.deployment:IndexingDeployment",
    protocol=IndexingService,
    sections=("indexing",),
    methods={"look_for_work": "always"},
    uses=(LIBRARY, DOCUMENT_PARSER, TEXT_READER, EMBEDDER, CAPTIONER, TRANSCRIBER, FRAME_SAMPLER),
)

GRAPH: Sequence[Node[Any]] = (
    CAPTIONER,
    TRANSCRIBER,
    FRAME_SAMPLER,
    DOCUMENT_PARSER,
    TEXT_READER,
    EMBEDDER,
    LIBRARY,
    ANSWERER,
    INDEXING,
)

INGRESS_OPTIONS: Mapping[str, Any] = {
    "name": INGRESS,
    # One: it counts what is admitted, for all clients together.
    "num_replicas": 1,
    # Far above what the app admits: when there are too many requests, the app must refuse them, in JSON. Serve would
    # do so in plain text.
    "max_ongoing_requests": 1000,
    **LIFE_OPTIONS,
    "ray_actor_options": {"num_cpus": 0},
}
