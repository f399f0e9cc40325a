// Package keyring encrypts values with keys that lie elsewhere than the values (envelope encryption).
//
//	value ──AES-256-GCM, data key, place──▶ Sealed.Value
//	data key ──AES-256-GCM, key of the ring, place and key id──▶ Sealed.DataKey
//
// Every value has a random data key of its own. The place (organisation, scope, name, version) is authenticated with both,
// so what is moved to another row does not open. A rotation of the ring's keys encrypts data keys again and leaves values
// as they are.
//
// The ring is behind the interface Keys, which a key management service can implement; File is a ring in a file. Only the
// standard library is used: what tink-go offers for this (aead.NewKMSEnvelopeAEAD2) authenticates no place with the data
// key, and its format would have to be taken apart to encrypt a data key again.
package keyring
