# ---
# jupyter:
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The mean image
#
# The notebook of the kind of model that mine.py adds.

# %% tags=["parameters"]
name = "mean"
dataset = "digits"
size = None
subset = None
batch_size = 128
seed = 0
precision = "no"
ema = 0.0
lr = 0.1
noise = 0.1
epochs = 1
snapshots = []
n_samples = None
metrics = ["fd_lenet"]

# %%
from mine import MeanConfig, run_mean  # noqa: E402

from genlab.data import show_grid  # noqa: E402
from genlab.runs import check_parameters  # noqa: E402

check_parameters()
config = MeanConfig.of(globals())
run = run_mean(config)
show_grid(run.samples(config.epochs)[:16], ncol=8)
