// Package chains replays scripted attacks on agents that obey every instruction that
// they read: tasks.yaml is what people have agents do, attacks.yaml what strangers put
// into the results that these read. Each attack in each of its tasks is a scenario.
// Scenarios run against a real Writ with the sample bundle, and with none; what is
// judged is what took effect, whoever permitted it.
package chains
