// Package channel carries messages to their receivers: by HTTP to webhooks, by SMTP to people, and to Slack. Addresses
// come from people, so what they name is checked by libs/egress when a connection is opened, and nothing that a receiver
// answers reaches anybody but as a number or a short reason.
package channel
