"""What learning from rewards is made of; a library, not a room: nothing here reads params or knows a run.

- `rewards`: what an answer is worth, by name, several with weights; of `written`, `answers`, `judges` and `sandbox`
- `environments`: tasks that speak for themselves, over one turn or several
- `advantages`: returns, generalised advantage estimates, whitening
- `divergence`: how far a policy is from its reference: estimators, and controllers of the penalty
- `losses`: the clipped losses of policy and value
- `value`: the value head
- `rollouts`: what a policy writes, with the log-probabilities it was written with; `turns`: a policy in an environment

Source: Schulman et al. 2017, arXiv:1707.06347; Ouyang et al. 2022, arXiv:2203.02155
"""
