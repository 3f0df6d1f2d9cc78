// The routes of a chat with rooms, as they were before Hangup. They record no activity.
import { DeleteItemCommand, DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";

const dynamodb = new DynamoDBClient({});
const TableName = process.env.CONNECTIONS_TABLE;

const keyOf = (connectionId) => ({ pk: { S: `CONN#${connectionId}` }, sk: { S: "META" } });

export async function connect(event) {
  const joined = { N: `${Math.floor(Date.now() / 1000)}` };
  const Item = { ...keyOf(event.requestContext.connectionId), joined };
  await dynamodb.send(new PutItemCommand({ TableName, Item }));
  return { statusCode: 200 };
}

export async function message(event) {
  return { statusCode: 200, body: event.body };
}

export async function disconnect(event) {
  const { connectionId, eventType } = event.requestContext;
  // A client may send a message whose action is "$disconnect".
  if (eventType !== "DISCONNECT") return { statusCode: 400 };
  const Key = keyOf(connectionId);
  await dynamodb.send(new DeleteItemCommand({ TableName, Key }));
  return { statusCode: 200 };
}
