"""No update of a model makes a GPU wait: nothing is fetched from it, and nothing is taken to it.

The `meta` device stands in for the GPU. Its tensors have shapes and no values, so that `.item()`, `.cpu()`,
a condition on a value, or a tensor of the CPU among them raise an error. A copy to it raises one here, too.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from genlab.augment import AUGMENTATIONS
from genlab.data import ImageSet
from genlab.ddpm import DDPMConfig, Denoiser, denoising_loss, make_diffusion, make_network
from genlab.dit import make_dit  # noqa: F401  adds itself
from genlab.flow import flow_heun  # noqa: F401  adds itself
from genlab.gan import GANConfig, find_loss, make_networks, update_gan
from genlab.latent import Codes, LatentConfig, code_loss, flow_config, make_latent
from genlab.modern_gan import residual  # noqa: F401  adds itself and its loss
from genlab.plug import LOSSES, NETWORKS, SAMPLERS
from genlab.reports import report004  # noqa: F401  adds its networks
from genlab.runs import EMA, make_accelerator, make_optimizers
from genlab.vae import LIKELIHOODS, VAEConfig, make_vae, update_vae, vae_optimizers
from genlab.vae_gan import both_optimizers, make_discriminator, update_vae_gan

DATA = ImageSet(torch.zeros(8, 3, 16, 16, dtype=torch.uint8), torch.arange(8) % 3, list("abc"))


def batch(n=8):
    return torch.empty(n, 3, 16, 16, device="meta"), torch.empty(n, dtype=torch.long, device="meta")


class NoCopies(TorchDispatchMode):
    "RuntimeError for a copy from one device to another."

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **options or {})
        if function.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            tensors = [x for x in tree_iter((arguments, result)) if isinstance(x, torch.Tensor)]
            if len({x.device.type for x in tensors}) > 1:
                raise RuntimeError("a tensor was copied from one device to another")
        return result


def adam(net):
    return torch.optim.Adam(net.parameters(), 1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("conditional", [False, True])
def test_gan(loss, conditional):
    norm = "layer" if find_loss(loss).penalty else "batch"
    augment = list(AUGMENTATIONS)
    config = GANConfig(width=8, loss=loss, norm=norm, conditional=conditional, augment=augment, dropout=0.1)
    update(config, conditional)


OTHERWISE = [
    {"network": "report004", "extra_layers": 1},
    {"norm": "spectral"},
    {"unroll": 2},
    {"entropy": 1e-3},
    {"network": "residual", "loss": "relativistic", "dropout": 0.1},
]


@pytest.mark.parametrize("fields", OTHERWISE)
def test_gan_otherwise(fields):
    update(GANConfig(width=8, **fields))


def update(config, conditional=False):
    G, D = (net.to("meta") for net in make_networks(config, DATA))
    x, y = batch()
    average, opt_G, opt_D = EMA(G, 0.9), adam(G), adam(D)
    with NoCopies():
        for _ in range(2):
            losses = update_gan(G, D, opt_G, opt_D, x, y if conditional else None, config)
            average.update(G)
    assert {value.device.type for value in losses.values()} == {"meta"}


@pytest.mark.parametrize("network", NETWORKS["ddpm"])
@pytest.mark.parametrize("target", ["eps", "x0", "v", "flow"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"min_snr": 5.0},
        {"conditional": True},
        {"schedule": "straight", "levels": "edm"},
        {"tuned_from": 1, "conditional": True},
    ],
)
def test_ddpm(network, target, fields):
    if network == "report003" and "conditional" in fields:
        pytest.skip("it knows no classes")
    if "tuned_from" in fields and target in ("eps", "x0"):
        pytest.skip("no target to tune")
    config = DDPMConfig(network=network, widths=[8, 16], target=target, **fields)
    net, diffusion = make_network(config, DATA).to("meta"), make_diffusion(config).to("meta")
    average, optimizers = EMA(net, 0.9), make_optimizers(net, config.optimizer, config.lr, config.beta2)
    with NoCopies():
        for _ in range(2):
            asked = average.model if config.tuned_from else None
            loss = denoising_loss(net, config, diffusion, *batch(), 3 if config.conditional else 0, asked)
            net.zero_grad()
            loss.backward()
            for optimizer in optimizers.values():
                optimizer.step()
            average.update(net)
    assert loss.device.type == "meta"


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_samplers(sampler, guidance):
    config = DDPMConfig(widths=[8, 16], conditional=True)
    labels = torch.arange(4) % 3
    net = make_network(config, DATA).to("meta")
    model = Denoiser(net, make_diffusion(config), config.target, labels, guidance)
    noise = lambda: torch.empty(4, 3, 16, 16, device="meta")
    with NoCopies():
        x = SAMPLERS[sampler](model, (4, 3, 16, 16), 4, seed=0, noise=noise)
    assert x.device.type == "meta"


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("network", NETWORKS["vae"])
def test_vae(likelihood, network):
    config = VAEConfig(network=network, width=8, latent=64, likelihood=likelihood, scale=None)
    vae = make_vae(config, DATA).to("meta")
    average, optimizers = EMA(vae, 0.9), vae_optimizers(vae, config)
    accelerator = make_accelerator()
    with NoCopies():
        for _ in range(2):
            losses = update_vae(vae, optimizers, batch()[0], config, accelerator)
            average.update(vae)
    assert losses["loss"].device.type == "meta"


def test_vae_gan():
    config = VAEConfig(width=8, adversarial=1.0)
    vae, D = make_vae(config, DATA).to("meta"), make_discriminator(config, DATA).to("meta")
    arguments = vae, D, *both_optimizers(vae, D, config), batch()[0], config, make_accelerator()
    with NoCopies():
        losses = update_vae_gan(*arguments)
    assert losses["loss"].device.type == "meta"


@pytest.mark.parametrize("fields", [{}, {"denoiser": "mlp", "conditional": True}])
def test_latent(fields):
    config = LatentConfig(width=8, widths=[8, 16], **fields)
    model, second = make_latent(config, DATA).to("meta"), flow_config(config)
    diffusion, (_, y) = make_diffusion(second).to("meta"), batch()
    codes, numbers = Codes(*torch.empty(2, 8, config.latent, device="meta"), y), batch(4)[1]
    average, optimizers = EMA(model.net, 0.9), make_optimizers(model.net, "adam", config.lr, 0.99)
    with NoCopies():
        for _ in range(2):
            loss = code_loss(model, second, diffusion, codes.pick(numbers), 3 if config.conditional else 0)
            model.net.zero_grad()
            loss.backward()
            optimizers["opt"].step()
            average.update(model.net)
    assert loss.device.type == "meta"


X = torch.empty(2, device="meta")
WAITING = {
    "item": X.sum().item,
    "cpu": X.cpu,
    "condition": X.any().__bool__,
    "mixed": X.add,
    "copy": X.copy_,
    "to": torch.ones(2).to,
}


@pytest.mark.parametrize("what", WAITING)
def test_the_stand_in_notices_what_a_gpu_would_wait_for(what):
    "Else these tests could not fail."
    arguments = {"mixed": [torch.ones(2)], "copy": [torch.ones(2)], "to": [X]}.get(what, [])
    with pytest.raises((RuntimeError, NotImplementedError)), NoCopies():
        WAITING[what](*arguments)
