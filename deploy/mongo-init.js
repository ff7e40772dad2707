// Makes the replica set of compose.cluster.yml where there is none yet; im-services wait for its primary.
try {
  rs.status();
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  rs.initiate({
    _id: "rs0",
    members: [
      { _id: 0, host: "mongo-1:27017" },
      { _id: 1, host: "mongo-2:27017" },
      { _id: 2, host: "mongo-3:27017" },
    ],
    // A new primary within seconds, not within ten.
    settings: { electionTimeoutMillis: 2000, heartbeatIntervalMillis: 500 },
  });
}
