"""What WavLM's attention costs: HuBERT, WavLM as tokengrid runs it (fused), WavLM as transformers does (eager).

    python benchmarks/wavlm_attention.py [--seconds 15] [--batch 4] [--device cuda --dtype bfloat16]

Random models of one size, their blocks alone (the convolutions before them are the same), a padded batch, in turn in
one process: read the ratios, not the seconds.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from statistics import median

import typer

from orchestrator.encoders.encoder import HOP, SAMPLE_RATE


def main(
    seconds: float = 15.0,
    batch: int = 4,
    hidden: int = 512,
    blocks: int = 6,
    heads: int = 8,
    rounds: int = 5,
    threads: int = 1,
    device: str = "cpu",
    dtype: str = "float32",
) -> None:
    """Prints median milliseconds a second of audio, ratios and, on a GPU, peak memory."""
    import torch
    import transformers

    from orchestrator.encoders.wavlm import fuse

    warnings.filterwarnings("ignore", message=".*mismatched key_padding_mask and attn_mask")  # of the eager one
    torch.set_num_threads(threads)
    sizes = {
        "hidden_size": hidden,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "conv_dim": (32,) * 7,
    }
    torch.manual_seed(0)
    hubert = transformers.HubertModel(transformers.HubertConfig(**sizes))
    eager = transformers.WavLMModel(transformers.WavLMConfig(**sizes))
    fused = transformers.WavLMModel(eager.config)
    fused.load_state_dict(eager.state_dict())
    fuse(fused.encoder.layers)
    models = {"HuBERT": hubert, "WavLM, fused": fused, "WavLM, eager": eager}
    for model in models.values():
        model.eval().to(device, getattr(torch, dtype))
    length = int(seconds * SAMPLE_RATE / HOP)
    x = torch.randn(batch, length, hidden, device=device, dtype=getattr(torch, dtype))
    mask = torch.arange(length, device=device) < torch.linspace(length, 0.8 * length, batch, device=device)[:, None]

    def timed(model: torch.nn.Module) -> Callable[[], float]:
        def once() -> float:
            if device == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
            model.encoder(x.clone(), attention_mask=mask)
            if device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - started

        return once

    measured: dict[str, list[float]] = {name: [] for name in models}
    memory: dict[str, float] = {}
    with torch.inference_mode():
        for round_number in range(rounds + 1):
            for name, model in models.items():
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                taken = timed(model)()
                if round_number:  # the first one warms up
                    measured[name].append(taken)
                if device == "cuda":
                    memory[name] = torch.cuda.max_memory_allocated() / 2**20
    base = median(measured["HuBERT"])
    print(f"{batch} × {seconds:g} s, {blocks} blocks of {hidden}, {heads} heads, {dtype} on {device}")
    for name, taken in measured.items():
        peak = f"   peak {memory[name]:7.0f} MiB" if memory else ""
        cost = 1000 * median(taken) / (batch * seconds)
        print(f"{name:14} {cost:8.2f} ms a second of audio   {median(taken) / base:5.2f} × HuBERT{peak}")


if __name__ == "__main__":
    typer.run(main)
