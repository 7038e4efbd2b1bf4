"""What a cell computes: equations with shapes, parameters, gates by step, how far gradients reach;
and what a trained run computes on its data.

python -m experiments.explain --cell=lstm --hidden_size=4 --inputs=3 --time_steps=5
python -m experiments.explain --cell=gru --plot
python -m experiments.explain --run=runs/lstm --example=17
python -m experiments.explain --run=runs/flipflop --fixed_points --lyapunov
"""

from experiments.inside import cell, trained
from experiments.inside.config import Config
from experiments.runner import cli
from experiments.runner.fields import check_needs


def main(config: Config) -> None:
    check_needs(config)
    (trained if config.run else cell).explain(config)


if __name__ == '__main__':
    cli.run(Config, main)
