# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # genlab
#
# > A course on image generation that runs
#
# genlab explains how small image generators work, in notebooks that *are* the thing they explain: the text, the library (`genlab/`), the tests and the experiments are one. Run a notebook with another number of epochs, another data set, on a GPU; a PDF report with loss tables, Frechet distances, training times and sample figures builds itself from what the runs leave on disk. Every number in it comes from a file, and every distance stands beside the distance that real images have.
#
# What comes out, on MNIST and two CPU cores (`make report PROFILE=published` makes the whole report of it). `fd_lenet` is a Frechet distance to the test images, in the features of a small classifier of digits; *times floor* compares it with the distance of as many real training images. In parentheses: the standard deviation, in units of the last digit.
#
# <!-- results: written by `make results` -->
#
# | model | run | epochs | of | `fd_lenet` | times floor | precision | recall | training (min) | 1,000 samples (s) |
# | :--------------- | :------- | ------: | --: | ----------: | -----------: | ---------: | --------: | --------------: | -----------------: |
# | GAN | cond | 5 | 15 | 16.0(8) | 19(2) | 0.715(5) | 0.786(4) | 21.7<sup>a</sup> | 0.48<sup>a</sup> |
# | diffusion model | muon | 3 | 5 | 1.4(2) | 1.6(3) | 0.779(4) | 0.902(4) | 6.6<sup>a</sup> | 29.28<sup>a</sup> |
# | VAE | vae-gan | 20 | 9 | 29.7(7) | 35(4) | 0.826(4) | 0.537(5) | 62.8<sup>a</sup> | 0.30<sup>a</sup> |
#
# The evaluation of each model with the smallest `fd_lenet` on mnist, 28x28, $N$ = 10,000, on AMD EPYC, 1 thread (<sup>a</sup>); AMD EPYC, 2 threads (<sup>b</sup>); Intel(R) Xeon(R) Processor, 1 thread (<sup>c</sup>). *Of*: from so many evaluations it was chosen, and the smallest of several is smaller than it would be when measured again. Standard deviations in units of the last digit: over samples, or the standard error over seeds where the run names none; that of the ratio by propagation, with the spread of one draw of real images for the floor.
#
# <!-- end of results -->
#
# ![Samples of these models, not selected, and real images](images/results.png)
#
# It grew out of five student reports that trained these models by hand; [07b_reports](07b_reports.ipynb) repeats them.
#
# ## Two commands
#
#     make report      # sets everything up, trains the quick sweep on the CPU, builds report/report.pdf
#     make test        # sets everything up, runs all tests
#
# They need Python 3.11 or newer, git and make, and no GPU. `make help` lists the rest: `make lab` opens the notebooks, `make report PROFILE=course` runs the MNIST course (for a GPU), and `make report PROFILE=published` builds a report from results on MNIST that come with the project, without training.
#
# ## The notebooks
#
# For readers who know PyTorch and some probability, in the order in which to read them. A short way through: 01_gan, 02_ddpm, 04_vae, and the table of faults at the head of 05_fid; the theory later.
#
# | notebook | module | what it is about | seconds |
# |---|---|---|--:|
# | [00_data](00_data.ipynb) | `genlab.data` | data sets as tensors, batches in a seeded order | 17 |
# | [01_gan](01_gan.ipynb) | `genlab.gan` | a GAN in thirty lines; the DCGAN, its losses, the loop | 39 |
# | [01b_mode_collapse](01b_mode_collapse.ipynb) | `genlab.collapse` | collapse made to happen on a ring of Gaussians, its cures on the same seeds, classes counted in images | 250 |
# | [01c_few_images](01c_few_images.ipynb) | `genlab.augment` | a GAN with a hundred images: what the discriminator knows by heart, and augmentations to learn through | 177 |
# | [01d_modern_gan](01d_modern_gan.ipynb) | `genlab.modern_gan` | why the game circles, a penalty that brings it to rest, real and fake images in pairs; 25 and 1,000 modes counted | 38 |
# | [01e_presgan](01e_presgan.ipynb) | `genlab.presgan` | a generator with a density, whose entropy is asked to be large: its gradient by a Markov chain | 28 |
# | [02_ddpm_theory](02_ddpm_theory.ipynb) | `genlab.diffusion` | the equations of diffusion, each checked on a density one can compute | 37 |
# | [03_unet](03_unet.ipynb) | `genlab.unet` | the denoiser, opened up, and what each of its parts buys | 317 |
# | [02_ddpm](02_ddpm.ipynb) | `genlab.ddpm` | training a diffusion model, and two ways to sample from it: DDPM and DDIM | 147 |
# | [02b_samplers](02b_samplers.ipynb) | `genlab.samplers` | which noise levels to visit, and solvers that need few of them | 165 |
# | [02c_guidance](02c_guidance.ipynb) | `genlab.guidance` | asking for a class, and asking louder: one line of Bayes' rule | 43 |
# | [02d_likelihood](02d_likelihood.ipynb) | `genlab.likelihood` | how probable a diffusion model finds images that it has never seen | 41 |
# | [02e_flow](02e_flow.ipynb) | `genlab.flow` | the straight way from noise to images: flow matching, what it shares with diffusion and EDM, and reflow | 32 |
# | [02f_few_steps](02f_few_steps.ipynb) | `genlab.few_steps` | images in one, two or four evaluations: a diffusion model is tuned to see the end of its path | 43 |
# | [03b_dit](03b_dit.ipynb) | `genlab.dit` | a transformer in the place of the U-Net: patches, positions, adaLN-zero, and what it costs | 89 |
# | [02g_restoration](02g_restoration.ipynb) | `genlab.restoration` | what else a denoiser can do: clean an image, and complete one | 145 |
# | [04_vae](04_vae.ipynb) | `genlab.vae` | from autoencoder to VAE to ELBO, how tight it is, which latent numbers are used | 45 |
# | [04b_vae_gan](04b_vae_gan.ipynb) | `genlab.vae_gan` | scale, beta and posterior collapse, and a VAE that learns from a discriminator | 176 |
# | [08_latent](08_latent.ipynb) | `genlab.latent` | flow matching on the codes of a VAE, what it saves, and codes of finitely many values | 38 |
# | [05_fid](05_fid.ipynb) | `genlab.fid` | how far images are from real ones: the Frechet distance, its floor and its error bars | 562 |
# | [05b_features](05b_features.ipynb) | `genlab.features` | what a classifier says about an image: LeNet, Inception, an extractor of your own | 12 |
# | [05c_measures](05c_measures.ipynb) | `genlab.measures` | what the distance does not see: precision and recall, classes, copies | 20 |
# | [05e_photo](05e_photo.ipynb) | `genlab.photo` | distances for photographs without labels, and which features see what | 60 |
# | [06_interpolation](06_interpolation.ipynb) | `genlab.interpolation` | walking through latent spaces, encoding images as noise, smoothness as a number | 113 |
#
# How it works inside, for those who want to know or to change it:
#
# | notebook | module | what it is about | seconds |
# |---|---|---|--:|
# | [00b_sources](00b_sources.ipynb) | `genlab.sources` | downloads that are checked, folders of images, the Hub | 14 |
# | [00c_plug](00c_plug.ipynb) | `genlab.plug` | names of data sets, networks, samplers, measures and models, and how to add one | 10 |
# | [00_runs](00_runs.ipynb) | `genlab.runs` | a run on disk: continue, crash and resume, bit for bit | 16 |
# | [05d_command](05d_command.ipynb) | `genlab.command` | the command `genlab_metrics` | 8 |
# | [07a_sweep](07a_sweep.ipynb) | `genlab.sweep` | a profile becomes a list of runs; what they left on disk becomes a table | 12 |
# | [07e_race](07e_race.ipynb) | `genlab.race` | the race: entries, trained until their samples are near the floor | 20 |
# | [07c_tables](07c_tables.ipynb) | `genlab.tables` | tables and figures of the runs of any kind of model | 18 |
# | [07d_sentences](07d_sentences.ipynb) | `genlab.sentences` | comparing with error bars, and saying what came out | 7 |
# | [07_report](07_report.ipynb) | `genlab.report` | the PDF, and the command `genlab_report` | 23 |
# | [07b_reports](07b_reports.ipynb) | `genlab.reports` | the five reports again, with what they printed beside what is measured here | 25 |
#
# The seconds are those from the first cell to the last, on one core of an AMD EPYC with other work beside it, but for the table at the end of 02c_guidance, which takes minutes more (a few cells of 03_unet, 03b_dit, 02g_restoration and 05_fid train more than the rest; the tests leave all these out). Each notebook can also be read on its own and ends with exercises and their solutions (folded).
#
# ## Running a notebook with other parameters
#
#     source .venv/bin/activate
#     papermill nbs/01_gan.ipynb out.ipynb -p epochs 20 -p dataset mnist
#     papermill nbs/01_gan.ipynb out.ipynb -p epochs 50 -p dataset mnist    # trains 30 more
#     papermill nbs/01_gan.ipynb out.ipynb -p loss hinge -p norm layer -p conditional true
#     papermill nbs/02_ddpm.ipynb out.ipynb -p epochs 50
#     papermill nbs/02_ddpm.ipynb out.ipynb -p epochs 50 -p sampler heun    # trains nothing, samples again
#     papermill nbs/02_ddpm.ipynb out.ipynb -p name flow -p schedule straight -p target flow    # flow matching
#     papermill nbs/02_ddpm.ipynb out.ipynb -p epochs 5 -p conditional true -p tuned_from 20 -p sampler consistency -p steps 2    # few steps
#     papermill nbs/02_ddpm.ipynb out.ipynb -p epochs 20 -p network dit -p patch 2    # a transformer
#     papermill nbs/01_gan.ipynb out.ipynb -p loss relativistic -p network residual -p penalty 1
#     papermill nbs/04_vae.ipynb out.ipynb -p epochs 20 -p dataset mnist -p side_epochs 0
#     papermill nbs/08_latent.ipynb out.ipynb -p epochs 30    # a flow on a VAE's codes
#     papermill nbs/06_interpolation.ipynb out.ipynb -p dataset mnist       # walks through the runs above
#
# The cell tagged `parameters` near the top of a notebook lists what can be set. Results are kept in `runs/<dataset>/<model>/<name>-<hash>/` (elsewhere: `GENLAB_RUNS`); a crash loses half a minute at most. A list is given as `-y "snapshots: [1, 5]"`.
#
# Data sets: `digits` (1,797 real digits of 16x16 pixels, no download), `tinted_digits` (the same in colours), `mnist`, `fashion_mnist`, `cifar10`, `celeba`, `hf:REPO` (the Hugging Face Hub: bedrooms, ImageNet, ...), `folder:PATH` with images of your own (a folder, a tar or a zip), or `mirror:FILE`, an archive below `GENLAB_MIRROR`; [00_data](00_data.ipynb) has names and licences. Images that come one by one are converted once into a memory map, and training needs no more memory for millions than for thousands. Downloads are cached (`GENLAB_CACHE`) and checked; `GENLAB_MIRROR`, a URL prefix such as `file:///data`, is tried before the public servers.
#
# ## Sweeps and the report
#
# A profile (`report/profiles/*.yaml`) lists runs and epoch counts. `quick` is for a CPU, `course` for MNIST on a GPU, `reports` repeats the student reports, a section each, `published` needs no training. A row with `seeds: [0, 1, 2]` is trained three times, and the report shows the mean of the three and its confidence interval. `make report PROFILE=reports SCALE=0.01` executes a hundredth of a profile, to see that every row runs; where a data set cannot be had, stand-ins take its place and the report says so. Behind `make report` are
#
#     snakemake sweep -s report/Snakefile --cores 2 --config profile=quick    # executes the notebooks
#     snakemake pdf -s report/Snakefile --cores 2 --config profile=quick      # tables, figures, PDF
#
# The PDF is set with LaTeX where there is one, else with Typst. Where there is [Quarto](https://quarto.org), `quarto render report/report.qmd` makes a PDF or a web page of the same text, and `make docs` a website of the notebooks.
#
# ## The race
#
# Which settings come near the floor soonest? An entry, `report/race/*.yaml`, is a list of settings. It is trained with several seeds until `fd_lenet` is at most 5 times, then 2 times what real images have ([07e_race](07e_race.ipynb); [CONTRIBUTING.md](../CONTRIBUTING.md) says how to enter).
#
#     make race TASK=mnist                        # all entries
#     make race TASK=mnist ENTRY=muon SEEDS=0     # one of them, once
#
# <!-- race: written by `make results` -->
#
# | entry | seeds | parameters | MFLOP/image | 5 × floor: seconds | 5 × floor: images | 2 × floor: seconds | 2 × floor: images |
# | :-- | --: | --: | --: | --: | --: | --: | --: |
# | muon (AMD EPYC, 1 thread) | 1 | 472,817 | 220 | 801 | 420,000 | not reached (4.6) | — |
#
# Training time until `fd_lenet` on fashion_mnist is so many times the floor (0.27, $N$ = 10,000); mean over seeds ± half the 95 % interval. *Not reached*: how near it came. FLOPs are those of the network, forward and backward, without the optimizer's.
#
# | entry | seeds | parameters | MFLOP/image | 5 × floor: seconds | 5 × floor: images | 2 × floor: seconds | 2 × floor: images |
# | :-- | --: | --: | --: | --: | --: | --: | --: |
# | muon (AMD EPYC, 1 thread) | 3 | 472,817 | 220 | 164 ± 160 | 80,000 | 415 ± 166 | 200,000 |
# | gan (AMD EPYC, 1 thread) | 3 | 415,650 | 42 | 200 ± 74 | 460,000 | not reached (3.0) | — |
# | small (AMD EPYC, 1 thread) | 1 | 470,001 | 220 | not reached (12.5) | — | not reached (12.5) | — |
#
# Training time until `fd_lenet` on mnist is so many times the floor (0.86, $N$ = 10,000); mean over seeds ± half the 95 % interval. *Not reached*: how near it came. FLOPs are those of the network, forward and backward, without the optimizer's.
#
# <!-- end of race -->
#
# ## Larger machines
#
# A run trains on one device. The loops take it, and the precision (`-p precision bf16`), from [Accelerate](https://huggingface.co/docs/accelerate); `ACCELERATE_USE_CPU=true` keeps them off a GPU. A sweep is many runs, and Snakemake spreads them: side by side on one machine, and in the same way over a cluster with SLURM, a job a run. For that, `pip install snakemake-executor-plugin-slurm`, and add `--executor slurm --jobs 20` to the first command above; where the machine that submits has no GPU, say `--set-resources execute:gpu=1`, too.
#
# All of it can be interrupted at any time, and goes on where it was.
#
# ## As a library
#
#     from genlab.data import load_dataset, show_grid
#     from genlab.fid import evaluate
#     from genlab.gan import GANConfig, run_gan
#
#     run = run_gan(GANConfig(dataset="digits", epochs=60, snapshots=[1, 5, 20]))
#     samples = run.samples(60)                  # uint8 (N, C, H, W)
#     show_grid(samples[:64])
#     print(evaluate(samples, "digits"))         # the distance, its floor, N, extractor and hash
#
# Diffusion models and VAEs in the same way, with `genlab.ddpm.DDPMConfig` and `run_ddpm`, `genlab.vae.VAEConfig` and `run_vae`. The samplers take any denoiser: `dpmpp(model, shape, steps=20, seed=0)` of `genlab.samplers`, where `model(xt, t)` returns the clean image and has `.diffusion` and `.device`.
#
# ## Your own network, your own data
#
# A data set is a function that returns bytes; a network is a module. Here is the U-Net of the package [diffusers](https://huggingface.co/docs/diffusers), trained, sampled and scored by genlab on digits in black on white:
#
#     from diffusers import UNet2DModel
#     from torch import nn
#     from genlab.data import load_dataset
#     from genlab.ddpm import DDPMConfig, run_ddpm
#     from genlab.plug import LOADERS
#
#     def negatives(split):                      # "train" or "test"
#         digits = load_dataset("digits", split)
#         return digits._replace(images=255 - digits.images)    # uint8 (N, C, H, W), labels or None
#
#     class Network(nn.Module):
#         def __init__(self):
#             super().__init__()
#             blocks = dict(down_block_types=["DownBlock2D"] * 2, up_block_types=["UpBlock2D"] * 2)
#             self.unet = UNet2DModel(16, 1, 1, block_out_channels=[32, 64], **blocks)
#
#         def forward(self, xt, t, y=None):      # noisy images, times, classes or None
#             return self.unet(xt, t).sample
#
#     LOADERS["negatives"] = negatives
#     run = run_ddpm(DDPMConfig(name="diffusers", dataset="negatives", epochs=20), network=Network())
#     print(run.metrics(20)["scores"])
#
# What has a name can be named everywhere. With `NETWORKS["ddpm"]["diffusers"] = lambda config, data: Network()` and these lines in a file `mine.py`, the same run is `GENLAB_PLUGINS=mine papermill nbs/02_ddpm.ipynb out.ipynb -p network diffusers -p dataset negatives`, and a profile that says `plugins: [mine]` brings it into a sweep and its report (`PYTHONPATH` has to have the folder of `mine.py`). Schedules, samplers, losses, feature extractors, measures, sections of the report and whole kinds of models are added in the same way: [00c_plug](00c_plug.ipynb), with one of each in `tests/plugin/mine.py`.
#
# ## Measuring images from anywhere
#
#     genlab_metrics samples.npz mnist                        # an array, against MNIST's test images
#     genlab_metrics my/images other/images --metrics fid     # two folders; the value of pytorch-fid
#     genlab_metrics runs/digits/gan/dcgan-1a2b3c4d digits    # the last epoch count of a run
#
# It prints a table of distances and shares with their spread and what real images score; `--json` gives all that is known.
#
# ## What lies where
#
#     nbs/                          the notebooks: text, library, tests and experiments
#     nbs/sidebar.yml               the order in which to read them
#     nbs/_quarto.yml               the website of `make docs`
#     nbs_py/                       the same notebooks as plain Python, for review and for editors
#     genlab/                       the library, exported from the notebooks; never edited by hand
#     report/report.qmd             the frame of the report; each model's section comes from its notebook
#     report/reports.qmd            the report of the profile `reports`
#     report/profiles/              lists of runs: quick, course, reports, published
#     report/results/               finished runs on MNIST, for `make report PROFILE=published`
#     report/race/                  entries of the race and what came out
#     report/Snakefile              the sweep: which notebook makes which file
#     report/seconds.json           how long its executions took, for an estimate before the next
#     report/claim_gpu.sh           a GPU of its own for each job of it
#     report/filter.lua             numbers, references and panels, where Quarto is not at hand
#     report/preamble.tex           how LaTeX sets the report
#     report/preamble.typ           how Typst does
#     report/references.bib         the papers
#     report/_quarto.yml            the report with Quarto
#     tests/test_notebooks.py       every notebook runs
#     tests/test_sync.py            modules, twins and README are those of the notebooks
#     tests/test_form.py            short lines, short functions
#     tests/test_parameters.py      a notebook's parameters are those of its configuration
#     tests/test_input.py           bad input gets one sentence
#     tests/test_images.py          odd image files, archives
#     tests/test_memory.py          sets larger than memory
#     tests/test_runs.py            kill and resume, to the bit
#     tests/test_no_waiting.py      an update fetches nothing from a GPU, and takes nothing to it
#     tests/test_peers.py           the same numbers as other packages
#     tests/test_bars.py            error bars hold what they promise
#     tests/test_pipeline.py        sweep and report, with failures
#     tests/test_stacked.py         stacked MNIST has the modes that it should
#     tests/test_plug.py            one more of everything, from outside
#     tests/plugin/                 the module that it adds
#     tests/test_published.py       the published runs show the same numbers as before
#     tests/published.json          these numbers
#     tests/test_race.py            entries and their results belong together
#     tests/test_readme.py          what this page says can be done
#     tests/conftest.py             what the tests share
#     benchmarks/                   speed against other packages: batches, Frechet distance, measures, U-Net
#     tools/colab.py                links that open the notebooks in Colab
#     tools/seconds.py              writes report/seconds.json
#     tools/results.py              the table and the picture at the top of this page
#     Makefile                      all commands; `make help` lists them
#     settings.ini                  name, version and packages
#     setup.py                      installs what settings.ini says
#     pyproject.toml                the same for tools that ask for it
#     requirements.lock             exact versions of the packages
#     environment.yml               Python, Quarto and TeX, for conda
#     MANIFEST.in                   what a package file has besides modules
#     jupytext.toml                 which folder is whose twin
#     pytest.ini                    how tests are run
#     ruff.toml                     what is checked in the code
#     .ci/run                       what a server runs
#
# How to change something: [CONTRIBUTING.md](../CONTRIBUTING.md). Licence: [Apache 2.0](../LICENSE).
