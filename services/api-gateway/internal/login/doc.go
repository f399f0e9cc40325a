// Package login is how somebody proves to be a user: by a password, by a code that made the first platform-admin, by an
// invitation, at a provider, by confirming what a command line asks for; and what that gives: sessions and API tokens.
//
// A credential has 256 random bits and is stored as its SHA-256. A session ends when it is unused for long, at a certain
// age, or by a logout; a token at its date, or when it is revoked. All of them end when their user is disabled.
//
// Whatever can be guessed is slowed down, by account and by address: an attempt is counted before it is looked at, so many
// at once are no way around it, and while one has to wait nothing is looked at, also not what would be right. Every wrong
// password has the same answer after the same work, whether there is such a user or not.
package login
