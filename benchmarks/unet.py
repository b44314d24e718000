"""Training speed: genlab's U-Net, and as large ones of diffusers and denoising-diffusion-pytorch.

Batches of 64 images of 28x28 pixels, the whole update: noising, forward, backward, Adam or Muon. A figure is
the median of five rounds in which all take turns, in one run. Prints images/s and ratios. A CPU that has no
bfloat16 arithmetic leaves out the rows with it; `pip install denoising-diffusion-pytorch` adds its rows.
"""

import statistics
import time

import torch
from diffusers import UNet2DModel
from torch import nn

from genlab.ddpm import DDPMConfig, denoising_loss, make_diffusion
from genlab.runs import device_name, make_accelerator, make_optimizers, seed_everything
from genlab.unet import UNet

try:
    from denoising_diffusion_pytorch import Unet as LucidrainsUnet
except ModuleNotFoundError:
    LucidrainsUnet = None

ROUNDS, UPDATES, BATCH = 5, 4, 64


class Others(nn.Module):
    "A network of another package, called as genlab's are."

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x, t, y=None):
        output = self.net(x, t)
        return output if isinstance(output, torch.Tensor) else output.sample


def diffusers_unet():
    "UNet2DModel without attention, its default of two layers a block."
    kinds = {"down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}
    sizes = {"sample_size": 28, "in_channels": 1, "out_channels": 1, "block_out_channels": (32, 64, 96)}
    return Others(UNet2DModel(**sizes, **kinds, add_attention=False))


def lucidrains_unet():
    "The Unet of denoising-diffusion-pytorch, with its attention at every resolution."
    return Others(LucidrainsUnet(30, dim_mults=(1, 2, 4), channels=1))


def genlab_unet():
    "The course's U-Net, with more channels at the lowest resolution than by default, for as many parameters."
    return UNet(1, (32, 64, 192))


def fastest_unet():
    "The network of report/race/muon.yaml."
    return UNet(1, (16, 32, 64))


class Loop:
    "Training of one network on random images."

    def __init__(self, make, precision="no", optimizer="adam", channels_last=False, compiled=False):
        seed_everything(0)
        self.device = make_accelerator().device
        self.config = DDPMConfig(optimizer=optimizer, precision=precision)
        order = torch.channels_last if channels_last else torch.contiguous_format
        self.net = make().to(self.device, memory_format=order)
        self.model = torch.compile(self.net) if compiled else self.net
        self.diffusion = make_diffusion(self.config).to(self.device)
        self.optimizers = make_optimizers(self.net, optimizer, 1e-3, 0.999).values()
        self.x0 = torch.rand(BATCH, 1, 28, 28, device=self.device) * 2 - 1

    def update(self):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss = denoising_loss(self.model, self.config, self.diffusion, self.x0, None)
        self.net.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def images_per_second(self):
        start = time.perf_counter()
        for _ in range(UPDATES):
            loss = self.update()
        loss.item()  # wait for the device
        return BATCH * UPDATES / (time.perf_counter() - start)


def loops():
    "All that take part, by name."
    makes = {"genlab": genlab_unet, "diffusers": diffusers_unet}
    if LucidrainsUnet:
        makes["denoising-diffusion-pytorch"] = lucidrains_unet
    found = {}
    for precision, word in (("no", "float32"), ("bf16", "bf16")):
        found |= {f"{name}, {word}": Loop(make, precision) for name, make in makes.items()}
    found["genlab, bf16, channels_last, compiled"] = Loop(genlab_unet, "bf16", "adam", True, True)
    found["genlab's entry muon, bf16"] = Loop(fastest_unet, "bf16", "muon")
    return found


def main():
    racers = loops()
    if racers["genlab, float32"].device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        racers = {name: loop for name, loop in racers.items() if "bf16" not in name}
    speeds = {name: [] for name in racers}
    for loop in racers.values():
        loop.images_per_second()  # warm up, compile
    for _ in range(ROUNDS):
        for name, loop in racers.items():
            speeds[name].append(loop.images_per_second())
    print(device_name(racers["genlab, float32"].device))
    print(f"{'':40}{'parameters':>12}{'images/s':>10}{'lowest':>8}{'highest':>9}{'x genlab, float32':>19}")
    own = statistics.median(speeds["genlab, float32"])
    for name, found in speeds.items():
        size, median = sum(p.numel() for p in racers[name].net.parameters()), statistics.median(found)
        ends = f"{median:>10.0f}{min(found):>8.0f}{max(found):>9.0f}"
        print(f"{name:40}{size:>12,}{ends}{median / own:>19.2f}")


if __name__ == "__main__":
    main()
