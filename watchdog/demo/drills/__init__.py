"""The drills, one file each: `DRILL` of `demo.drill.Drill`. Named after its file, with dashes."""
