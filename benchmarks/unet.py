"""Training speed: genlab's U-Net against UNet2DModel of the package diffusers, with about as many parameters.

Batches of 64 images of 28x28 pixels, the whole update: noising, forward, backward, Adam. Each figure is the
median of three rounds in which all take turns, in one run. Prints images/s and ratios. A CPU that has no
bfloat16 arithmetic leaves out the rows with it.
"""

import statistics
import time

import torch
from diffusers import UNet2DModel
from torch import nn

from genlab.diffusion import Diffusion, cosine_betas
from genlab.runs import device_name, make_accelerator, seed_everything
from genlab.unet import UNet

ROUNDS, UPDATES, BATCH = 3, 3, 64


class Diffusers(nn.Module):
    "UNet2DModel without attention, its default of two layers a block."

    def __init__(self):
        super().__init__()
        kinds = {
            "down_block_types": ("DownBlock2D",) * 3,
            "up_block_types": ("UpBlock2D",) * 3,
            "add_attention": False,
        }
        self.net = UNet2DModel(
            sample_size=28, in_channels=1, out_channels=1, block_out_channels=(32, 64, 96), **kinds
        )

    def forward(self, x, t):
        return self.net(x, t).sample


def genlab_unet():
    "The course's U-Net, with more channels at the lowest resolution than by default, for as many parameters."
    return UNet(1, (32, 64, 192))


class Loop:
    "Training of one network on random images."

    def __init__(self, make, precision="no", channels_last=False, compiled=False):
        seed_everything(0)
        self.device, self.diffusion, self.bf16 = (
            make_accelerator().device,
            Diffusion(cosine_betas()),
            precision == "bf16",
        )
        self.net = make().to(
            self.device, memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )
        self.model = torch.compile(self.net) if compiled else self.net
        self.opt = torch.optim.Adam(self.net.parameters(), 1e-3)
        self.x0 = torch.rand(BATCH, 1, 28, 28, device=self.device) * 2 - 1

    def update(self):
        t, eps = torch.randint(1, 1001, (BATCH,)), torch.randn_like(self.x0)
        xt = self.diffusion.q_sample(self.x0, t, eps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.model(xt, t.to(self.device))
        loss = (output.float() - self.diffusion.target("v", self.x0, eps, t)).square().mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return loss

    def images_per_second(self):
        start = time.perf_counter()
        for _ in range(UPDATES):
            loss = self.update()
        loss.item()  # wait for the device
        return BATCH * UPDATES / (time.perf_counter() - start)


def main():
    loops = {
        "diffusers, float32": Loop(Diffusers),
        "genlab, float32": Loop(genlab_unet),
        "genlab, bf16": Loop(genlab_unet, "bf16"),
        "genlab, channels_last, compiled": Loop(genlab_unet, "no", True, True),
        "genlab, bf16, channels_last, compiled": Loop(genlab_unet, "bf16", True, True),
        "diffusers, bf16": Loop(Diffusers, "bf16"),
    }
    if loops["genlab, float32"].device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        loops = {name: loop for name, loop in loops.items() if "bf16" not in name}
    speeds = {name: [] for name in loops}
    for loop in loops.values():
        loop.images_per_second()  # warm up, compile
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            speeds[name].append(loop.images_per_second())
    median = {name: statistics.median(s) for name, s in speeds.items()}
    print(device_name(loops["genlab, float32"].device))
    print(f"{'':40}{'parameters':>12}{'images/s':>10}{'x diffusers':>13}{'x own float32':>15}")
    for name, speed in median.items():
        size = sum(p.numel() for p in loops[name].net.parameters())
        ratios = speed / median["diffusers, float32"], speed / median["genlab, float32"]
        print(f"{name:40}{size:>12,}{speed:>10.0f}{ratios[0]:>13.2f}{ratios[1]:>15.2f}")


if __name__ == "__main__":
    main()
